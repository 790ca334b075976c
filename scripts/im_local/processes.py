"""What `scripts/processes.toml` says. As a program (`python -m`) it tells the shell scripts."""

import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from im_local.paths import ROOT

TABLE = ROOT / "scripts" / "processes.toml"
# The variable that says where it listens.
VARIABLES = {
    "gRPC": "IM_LISTEN_ON",
    "WebSocket": "IM_WEB_SOCKET__LISTEN_ON",
    "HTTP": "IM_HTTP__LISTEN_ON",
}


@dataclass(frozen=True)
class Service:
    """A service or gateway as it lies in the checkout; `ports` maps what listens to where."""

    name: str
    folder: str
    module: str
    config: str
    operator: int
    ports: dict[str, int] = field(default_factory=dict)
    database: str = ""

    @property
    def package(self) -> str:
        """The package that its module is, or lies in."""
        return self.module.partition(".")[0]

    @property
    def settings(self) -> str:
        """Its class of settings, as `module:Class`."""
        return f"{self.module}.config:Settings"

    @property
    def config_file(self) -> str:
        """Below the checkout."""
        return f"{self.folder}/etc/{self.config}"

    @property
    def migrations(self) -> str:
        """The folder below the checkout; empty when there are none, or another process has them."""
        folder = f"{self.folder}/{self.module}/migrations"
        return folder if (ROOT / folder).is_dir() else ""

    @property
    def is_gateway(self) -> bool:
        """Whether clients connect to it."""
        return not self.ports.keys() <= {"gRPC"}


def read(table: Path = TABLE) -> list[Service]:
    """The processes in their order. Raises TypeError when an entry has other keys than Service."""
    with table.open("rb") as file:
        entries: list[dict[str, Any]] = tomllib.load(file)["process"]
    return [Service(**entry) for entry in entries]


SERVICES = read()


def folders(services: list[Service]) -> list[str]:
    """Each once, in order."""
    return list(dict.fromkeys(service.folder for service in services))


def main() -> int:
    """`packages`: the path of each."""
    match sys.argv[1:]:
        case ["packages"]:
            words = dict.fromkeys(f"{s.folder}/{s.package}" for s in SERVICES)
        case _:
            print(main.__doc__, file=sys.stderr)
            return 2
    print(*words, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
