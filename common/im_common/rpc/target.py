"""What gRPC is told to connect to, for a set of `host:port` addresses."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection, Iterable


def direct_target(addresses: Collection[str]) -> str | None:
    """The target for ``addresses`` when gRPC can do with them as they are, else None.

    IP addresses make one list, of one family only (that is gRPC's rule; IPv4 is preferred). A single
    name is left to gRPC's own resolver, which follows it when it moves. Several names need
    :func:`look_up` first, for gRPC takes no list of names.
    """
    by_family: dict[int, list[str]] = {4: [], 6: []}
    for address in sorted(addresses):
        version = _ip_version(address)
        if version is None:
            return f"dns:///{address}" if len(addresses) == 1 else None
        by_family[version].append(address)
    if by_family[4]:
        return "ipv4:" + ",".join(by_family[4])
    return "ipv6:" + ",".join(by_family[6]) if by_family[6] else None


async def look_up(addresses: Iterable[str]) -> frozenset[str]:
    """The addresses with each name replaced by the IP addresses behind it now.

    A name that cannot be resolved is left out.
    """
    found = await asyncio.gather(*(_look_up(address) for address in addresses))
    return frozenset().union(*found)


async def _look_up(address: str) -> frozenset[str]:
    if _ip_version(address) is not None:
        return frozenset((address,))
    host, _, port = address.rpartition(":")
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(_join(info[4][0], port) for info in infos)


def _join(host: str | int, port: str) -> str:
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _ip_version(address: str) -> int | None:
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return None
