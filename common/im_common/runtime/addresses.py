"""The address of a client, in one form."""

from __future__ import annotations

import ipaddress

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


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
