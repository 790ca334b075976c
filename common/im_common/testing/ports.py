"""Ports for servers that are started a moment after their port was chosen."""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import tempfile
from functools import lru_cache
from pathlib import Path

from im_local.ports import is_free

# Below what the kernel gives to outgoing connections, any of which could take the port meanwhile, and
# beside the ports of `scripts/up` and `scripts/infra` with their offsets.
_PORTS = range(14_000, 16_000)
_next = itertools.cycle(random.sample(_PORTS, len(_PORTS)))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no other call gets: of this process soon,
    of others while this one lives.

    Raises RuntimeError when there is none.
    """
    for port in itertools.islice(_next, len(_PORTS)):
        if is_free(port) and _take(port):
            return port
    raise RuntimeError(f"no port from {_PORTS[0]} to {_PORTS[-1]} is free")


def _take(port: int) -> bool:
    """Suites run side by side, and some tests want that nobody listens. A byte of one file is locked
    for each port, until the process ends."""
    try:
        fcntl.lockf(_taken(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@lru_cache(maxsize=1)
def _taken() -> int:
    path = Path(tempfile.gettempdir()) / f"im-test-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
