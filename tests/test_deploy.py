"""The compose file says what the services understand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "deploy/docker-compose.yaml").read_text())["services"]
OURS = {name: s for name, s in COMPOSE.items() if s["image"].startswith("im/")}


def test_all_seven_services_are_there() -> None:
    folders = {f"{n}-service" for n in ("user", "auth", "friend", "group", "chat")}
    assert folders | {"api-gateway", "ws-gateway", "chat-mq"} <= set(OURS)


@pytest.mark.parametrize("name", [n for n, s in OURS.items() if s["command"][0] == "serve"])
def test_a_service_accepts_its_settings(name: str) -> None:
    service: dict[str, Any] = OURS[name]
    folder = service["image"].removeprefix("im/")
    module = service["environment"].get("MODULE", folder.replace("-", "_"))
    config = ROOT / folder / "etc" / Path(service["command"][2]).name
    values = {
        key: re.sub(r"\$\{(\w+):\?.*\}", "x" * 40, value)
        for key, value in service["environment"].items()
        if key.startswith("IM_")
    }
    done = subprocess.run(
        [sys.executable, "-m", module, "config", "validate", "-f", config],
        env={"PATH": os.environ["PATH"], **values},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
