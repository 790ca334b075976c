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

from im_local.paths import ROOT
from im_local.processes import SERVICES, VARIABLES, Service

COMPOSE = yaml.safe_load((ROOT / "deploy/docker-compose.yaml").read_text())["services"]
OURS = {name: s for name, s in COMPOSE.items() if s["image"].startswith("im/")}


def module_of(service: dict[str, Any]) -> str:
    folder: str = service["image"].removeprefix("im/")
    module: str = service["environment"].get("MODULE", folder.replace("-", "_"))
    return module


@pytest.mark.parametrize("process", SERVICES, ids=lambda process: process.name)
def test_each_process_is_there(process: Service) -> None:
    """With its folder, its settings, its ports and its database, brought up to date before."""
    (service,) = [
        service
        for service in OURS.values()
        if module_of(service) == process.module and service["command"][0] == "serve"
    ]
    assert service["image"] == f"im/{process.folder}"
    assert service["command"] == ["serve", "-f", f"/etc/im/{process.config}"]
    listens = {VARIABLES[what]: f"0.0.0.0:{port}" for what, port in process.ports.items()}
    environment = service["environment"]
    assert {name: environment.get(name) for name in listens} == listens
    source = environment.get("IM_DB__DATA_SOURCE", "")
    assert source.rpartition("/")[2] == process.database
    if process.database:
        migrating = [name for name in service["depends_on"] if name.endswith("-migrate")]
        assert [OURS[name]["environment"]["IM_DB__DATA_SOURCE"] for name in migrating] == [source]
    initial = (ROOT / "deploy/mysql-init.sql").read_text()
    assert not process.database or process.database in initial


@pytest.mark.parametrize("name", [n for n, s in OURS.items() if s["command"][0] == "serve"])
def test_a_service_accepts_its_settings(name: str) -> None:
    service: dict[str, Any] = OURS[name]
    module = module_of(service)
    config = ROOT / service["image"].removeprefix("im/") / "etc" / Path(service["command"][2]).name
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
