"""Ports for servers that are started a moment after their port was chosen."""

from __future__ import annotations

import itertools
import random

from im_local.ports import claim, is_free

# Below what the kernel gives to outgoing connections, any of which could take the port meanwhile, and
# beside the ports of `scripts/up` and `scripts/infra` with their offsets.
_PORTS = range(14_000, 16_000)
_next = itertools.cycle(random.sample(_PORTS, len(_PORTS)))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no other call gets: of this process soon,
    of others while this one lives. Suites run side by side, and some tests want that nobody listens.

    Raises RuntimeError when there is none.
    """
    for port in itertools.islice(_next, len(_PORTS)):
        if is_free(port) and claim(port, for_another=True):
            return port
    raise RuntimeError(f"no port from {_PORTS[0]} to {_PORTS[-1]} is free")
