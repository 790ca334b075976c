"""What go-zero's YAML has and ours has not: taken where it means the same, else refused with a sentence
that says what to write instead.

In the tables `*` stands for any client (`UserRpc`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

# Says what is so anyway.
_SAME: dict[str, object] = {
    "Mode": "pro",
    "Log.Mode": "console",
    "Telemetry.Disabled": False,
    "Telemetry.OtlpHttpPath": "/v1/traces",
    "DevServer.Enabled": True,
    "Health": True,
    "Redis.NonBlock": True,
    "*.NonBlock": True,
    "Etcd.InsecureSkipVerify": False,
}
_RENAMED = {"Redis.User": "username"}
_NO_SECRET = "is a secret and does not belong in YAML; set"
# A process has one etcd, so a client's must be the same.
_OF_ETCD = ("hosts", "user", "ca_cert_file", "cert_file", "cert_key_file")
_REFUSED = {
    "Mode": "has no effect here; leave it out (Log.Level says how much is logged)",
    "Telemetry.Disabled": "is not used; leave Telemetry out, or its Endpoint",
    "Telemetry.OtlpHeaders": "is not used: a collector is spoken to without a password; leave it out",
    "Telemetry.OtlpHttpPath": "must be /v1/traces; leave it out",
    "Telemetry.OtlpHttpSecure": "is not used; write https:// in front of Telemetry.Endpoint",
    "Prometheus": "is not used; write DevServer: {Host, Port}, where /metrics is",
    "Auth": "is not used: services always prove themselves with IM_INTERNAL_SECRET; leave it out",
    "StrictControl": "is not used; leave it out",
    "CpuThreshold": "is not used: there is no shedding by load; leave it out",
    "Middlewares": "is not used: all of them are always on; leave it out",
    "MethodTimeouts": "is not used; write Timeout, for all methods",
    "Health": "must be true: gRPC health is always there; leave it out",
    "Log.Mode": "must be console: logs go to standard error; leave it out",
    "Log.ServiceName": "is not used; write Name",
    "Log.Path": "is not used: logs go to standard error; leave it out",
    "Log.Stat": "is not used: /metrics has the figures; leave it out",
    "DevServer.Enabled": "must be true: the probes are always there; leave it out",
    "DevServer.HealthPath": "is not used; ask /healthz and /readyz",
    "DevServer.MetricsPath": "is not used; ask /metrics",
    "Redis.Pass": f"{_NO_SECRET} IM_REDIS__PASSWORD or IM_REDIS__PASSWORD_FILE",
    "Redis.Key": "is not used: services always prove themselves with IM_INTERNAL_SECRET; leave it out",
    "Etcd.Pass": f"{_NO_SECRET} IM_ETCD__PASSWORD or IM_ETCD__PASSWORD_FILE",
    "Etcd.InsecureSkipVerify": "must be false: who says that he is etcd has to show it; leave it out",
    "Etcd.ID": "is not used: the key ends with the lease's id; leave it out",
    "*.Target": "is not used; write Endpoints: [host:port]",
    "*.App": "is not used: services always prove themselves with IM_INTERNAL_SECRET; leave it out",
    "*.Token": "is not used: services always prove themselves with IM_INTERNAL_SECRET; leave it out",
    "*.NonBlock": "must be true: a client never waits at the start; leave it out",
    "*.BalancerName": "is not used: calls go round over the instances; leave it out",
    "*.KeepaliveTime": "is not used: a peer is always asked whether it lives; leave it out",
    "*.Middlewares": "is not used: all of them are always on; leave it out",
}
_ENDLESS = (
    "must not be 0: a call without a limit may last for ever; write milliseconds (say, 10000)"
)


class Refused(ValueError):
    """A key that is not taken; the text says what to write instead."""


def snake_key(key: str) -> str:
    """`CACertFile` is `ca_cert_file`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", key).lower()


def pascal_key(key: str) -> str:
    return "".join(part.capitalize() for part in key.split("_"))


def translate(values: dict[str, Any], clients: Collection[str]) -> None:
    """Turns go-zero's keys in ``values`` (in snake case) into ours. ``clients`` are the sections for
    other services.

    Raises:
        Refused: a key of go-zero's cannot be taken.
    """
    for name in clients:
        _take_etcd(values, name)
    _take_ca_file(values)
    for spelt in (*_RENAMED, *_SAME, *_REFUSED, "Timeout", "*.Timeout"):
        for section, key, name in _places(values, clients, spelt):
            if spelt in _SAME and section[key] == _SAME[spelt]:
                del section[key]
            elif spelt in _RENAMED:
                section[_RENAMED[spelt]] = section.pop(key)
            elif spelt in _REFUSED:
                raise Refused(f"{name} {_REFUSED[spelt]}")
            elif section[key] == 0 and "Timeout" in spelt:
                raise Refused(f"{name} {_ENDLESS}")


def _places(
    values: dict[str, Any], clients: Collection[str], spelt: str
) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Where the key ``spelt`` is: its section, its name there, and how it is written."""
    first, _, last = spelt.rpartition(".")
    key = snake_key(last)
    sections: list[tuple[Any, str]]
    if not first:
        sections = [(values, spelt)]
    elif first == "*":
        sections = [(values.get(name), f"{pascal_key(name)}.{last}") for name in clients]
    else:
        sections = [(values.get(snake_key(first)), spelt)]
    for section, name in sections:
        if isinstance(section, dict) and key in section:
            yield section, key, name


def _take_etcd(values: dict[str, Any], client: str) -> None:
    """`UserRpc: {Etcd: {Hosts, Key}}` is `UserRpc: {Key}`, with the one etcd that a process has."""
    section = values.get(client)
    if not isinstance(section, dict) or not isinstance(section.get("etcd"), dict):
        return
    etcd, name = section.pop("etcd"), f"{pascal_key(client)}.Etcd"
    if "pass" in etcd:
        raise Refused(f"{name}.Pass {_REFUSED['Etcd.Pass']}")
    unknown = sorted(set(etcd) - {"key", *_OF_ETCD})
    if unknown:
        raise Refused(f"{name}.{pascal_key(unknown[0])} is not used; leave it out")
    if section.setdefault("key", etcd.get("key", "")) != etcd.get("key", section["key"]):
        raise Refused(f"{name}.Key and {pascal_key(client)}.Key differ; write one of them")
    own = values.setdefault("etcd", {})
    for key in etcd.keys() & _OF_ETCD:
        if own.setdefault(key, etcd[key]) != etcd[key]:
            spelt = pascal_key(key)
            raise Refused(
                f"{name}.{spelt} differs from Etcd.{spelt}: a process has one etcd; write the same, or"
                " leave it out"
            )


def _take_ca_file(values: dict[str, Any]) -> None:
    """go-queue's `CaFile` is TLS with a server that shows who it is."""
    bus = values.get("bus")
    if isinstance(bus, dict) and "ca_file" in bus:
        bus["tls_ca_file"] = bus.pop("ca_file")
        bus.setdefault("tls", "verify_identity")
