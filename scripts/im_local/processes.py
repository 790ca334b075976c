"""What `scripts/processes.toml` says. As a program (`python -m`) it tells the shell scripts."""

import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from im_local.errors import LocalError
from im_local.paths import ROOT
from im_local.ports import spare_ports

TABLE = ROOT / "scripts" / "processes.toml"
# On one machine.
MOST_INSTANCES = 32
# The variable that says where it listens.
VARIABLES = {
    "gRPC": "IM_LISTEN_ON",
    "WebSocket": "IM_WEB_SOCKET__LISTEN_ON",
    "HTTP": "IM_HTTP__LISTEN_ON",
}


@dataclass(frozen=True)
class Service:
    """A service or gateway as it lies in the checkout, or an instance of it; `ports` maps what listens
    to where."""

    name: str
    folder: str
    module: str
    config: str
    operator: int
    ports: dict[str, int] = field(default_factory=dict)
    database: str = ""
    # Of several instances, which this is.
    number: int = 1

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


def parse_scale(texts: list[str]) -> dict[str, int]:
    """Each text is NAME=N: so many instances of a service. Raises LocalError."""
    names = [service.name for service in SERVICES]
    scale: dict[str, int] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name not in names:
            raise LocalError(f"--scale {text}: NAME is one of {', '.join(names)}")
        if not (number.isascii() and number.isdigit() and 0 < int(number) <= MOST_INSTANCES):
            raise LocalError(f"--scale {text}: N is a number from 1 to {MOST_INSTANCES}")
        scale[name] = int(number)
    return scale


def instances(port_offset: int, scale: Mapping[str, int]) -> Iterator[Service]:
    """With the ports that they get: of each service the first has its own, further ones any that are
    free."""
    spare = spare_ports()
    for service in SERVICES:
        ports = {what: port + port_offset for what, port in service.ports.items()}
        yield replace(service, ports=ports, operator=service.operator + port_offset)
        for number in range(2, scale.get(service.name, 1) + 1):
            yield replace(
                service,
                name=f"{service.name}-{number}",
                ports={what: next(spare) for what in service.ports},
                operator=next(spare),
                number=number,
            )


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
