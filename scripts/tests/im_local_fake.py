"""`scripts/up` with stand-ins for the servers and services.

Arguments: the data folder, `--plan JSON` (a list of [name, stage, port, behaviour]) and what `up`
itself takes.
"""

import argparse
import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from im_local import probes
from im_local.background import detach
from im_local.console import Console
from im_local.errors import LocalError
from im_local.paths import DataDir
from im_local.process import Process, Stage
from im_local.up import Envs, Launch, run

SERVICE = str(Path(__file__).parent / "fake_service.py")


@dataclass
class FakePlan:
    data: DataDir
    rows: list[tuple[str, str, int, str]]

    def servers(self) -> list[Process]:
        return [p for p in self._processes() if p.stage == Stage.SERVER]

    def services(self) -> list[Process]:
        return [p for p in self._processes() if p.stage != Stage.SERVER]

    def describe(self) -> dict[str, Any]:
        return {"api": "http://127.0.0.1:1"}

    def _processes(self) -> list[Process]:
        events = str(self.data.path / "events")
        return [
            Process(
                name,
                [*_program(behaviour), name, str(port), events, behaviour],
                Stage[stage],
                {"HTTP": port},
                probes.http(port, "/readyz"),
                is_forked=behaviour == "forked",
            )
            for name, stage, port, behaviour in self.rows
        ]


def _program(behaviour: str) -> list[str]:
    if behaviour == "forked":
        return [sys.executable, "-m", "fake_service"]
    return [sys.executable, "-S", SERVICE]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--plan", type=json.loads, required=True)
    parser.add_argument("--detach", action="store_true")
    parser.add_argument("--tell", type=int)
    options = parser.parse_args()
    data = DataDir.at(options.data)
    if options.detach:
        rows = json.dumps(options.plan)
        return detach(data, [sys.executable, __file__, str(data.path), "--plan", rows])
    console = Console(listener=os.fdopen(options.tell, "w") if options.tell else None)
    plan = FakePlan(data, options.plan)

    async def prepare() -> Envs:
        await asyncio.sleep(0)
        return {p.name: dict(os.environ) | {"IM_GREETING": p.name} for p in plan.services()}

    try:
        return run(data, lambda: Launch(data, plan, prepare, dict(os.environ)), console)
    except LocalError as error:
        console.block(f"error: {error}")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
