"""Addresses: a client's in one form, and the one under which others find this process."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable
from functools import lru_cache

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Of no host (RFC 5737, RFC 3849): only for asking which of our addresses a packet would leave from.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def advertised_address(listen_on: str, advertise_on: str, port: int) -> str:
    """What others connect to (`host:port`): what goes into etcd, routes and origins.

    ``advertise_on`` if there is one. Else the host of ``listen_on`` with ``port``; and when that stands
    for all interfaces, what the variable POD_IP says, or the machine's own address, as go-zero has it.
    """
    if advertise_on:
        return advertise_on
    host = listen_on.rpartition(":")[0]
    if host.strip("[]") in ("", "0.0.0.0", "::"):
        host = os.environ.get("POD_IP", "").strip("[]") or own_address()
        host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}"


def own_address() -> str:
    """The address of the interface that leads to other machines; 127.0.0.1 when there is none."""
    for family, elsewhere in _ELSEWHERE:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                # Connecting a datagram socket looks up the route and sends nothing.
                probe.connect((elsewhere, 9))
            except OSError:
                continue
            return str(probe.getsockname()[0])
    return "127.0.0.1"


def client_address(socket_address: str, forwarded: Iterable[str], trusted_proxies: int) -> str:
    """The address a request came from: the socket's, or what the outermost trusted proxy saw.

    Each proxy appends the address it saw to X-Forwarded-For, whose lines are ``forwarded``: with n
    trusted proxies the n-th entry from the right is the client; what stands before it the client may
    have made up.
    """
    entries = ",".join(forwarded).split(",") if trusted_proxies else []
    if len(entries) >= max(1, trusted_proxies):
        try:
            return str(read_address(entries[-trusted_proxies]))
        except ValueError:
            pass
    return _plain(socket_address)


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """Whom an address stands for: with IPv6, everyone has a /64. What is no address is itself."""
    try:
        parsed = read_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed.packed, 64), strict=False).network_address)


def read_address(text: str) -> IPAddress:
    """An IP address as sockets and proxies write it: with a port or not, IPv6 in brackets or not, in
    quotes or not, with a zone or not. IPv4 that is mapped into IPv6 is IPv4.

    Raises:
        ValueError: it is none.
    """
    host = text.strip().strip('"')
    if host.startswith("["):
        host, end, port = host[1:].partition("]")
        if not end or (port and not (port[0] == ":" and port[1:].isdigit())):
            raise ValueError(f"not an address: {text!r}")
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
        if not port.isdigit():
            raise ValueError(f"not an address: {text!r}")
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


@lru_cache(maxsize=4096)
def _plain(socket_address: str) -> str:
    try:
        return str(read_address(socket_address))
    except ValueError:
        return socket_address
