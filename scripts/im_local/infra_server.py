"""One real server among those of `scripts/infra`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from im_local.paths import DataDir
from im_local.probes import Probe


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Server:
    """One server; `prepare` blocks, may be run again, and gives the command line. `finish` blocks and
    is run whenever the server has become ready, before others are told of it."""

    name: str
    folder: Path
    ports: list[int]
    probe: Probe
    prepare: Callable[[], list[str]]
    finish: Callable[[], None] = _nothing

    @property
    def kind(self) -> str:
        """Of `kafka-2` it is `kafka`."""
        return self.name.partition("-")[0]


@dataclass(frozen=True)
class Cluster:
    """Servers that run in the place of the single one of their kind, or beside the others where
    there is none."""

    kind: str
    # With what is added to each port.
    servers: Callable[[DataDir, int], list[Server]]
    # What the infra file says of them.
    described: Callable[[int], dict[str, Any]]
