"""Three members of etcd, with a password and TLS on both sides."""

import os
import subprocess
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from im_local import probes
from im_local.certificates import Certificates, certificates_once
from im_local.errors import LocalError
from im_local.files import secret_once
from im_local.infra_server import Cluster, Server
from im_local.paths import DataDir
from im_local.ports import HOST
from im_local.servers import etcd_program, flags

_USER = "im"
_MEMBERS = (1, 2, 3)
# Of the first member: for clients, between members, and without TLS for its health.
_CLIENTS, _PEERS, _HEALTH = 12401, 12411, 12421
_LIMIT_S = 20


def _servers(data: DataDir, port_offset: int) -> list[Server]:
    return [
        Server(
            f"etcd-{number}",
            data.path / "infra" / "etcd-cluster" / str(number),
            [first + number - 1 + port_offset for first in (_CLIENTS, _PEERS, _HEALTH)],
            probes.etcd(_HEALTH + number - 1 + port_offset),
            partial(_argv, data, number, port_offset),
            # Once is enough.
            *([partial(_ask_for_passwords, data, port_offset)] if number == 1 else []),
        )
        for number in _MEMBERS
    ]


def _argv(data: DataDir, number: int, port_offset: int) -> list[str]:
    def at(first: int, member: int) -> str:
        return f"https://{HOST}:{first + member - 1 + port_offset}"

    folder = data.path / "infra" / "etcd-cluster" / str(number)
    client, peer = at(_CLIENTS, number), at(_PEERS, number)
    made = certificates_once(data.secrets / "tls")
    cert, key, ca = made.certificate("server"), made.key("server"), made.ca
    members = ",".join(f"n{member}={at(_PEERS, member)}" for member in _MEMBERS)
    return [
        etcd_program(),
        *flags(name=f"n{number}", data_dir=folder / "data", logger="zap", log_level="warn"),
        *flags(listen_client_urls=client, advertise_client_urls=client),
        *flags(listen_peer_urls=peer, initial_advertise_peer_urls=peer),
        *flags(initial_cluster=members, initial_cluster_token="im", snapshot_count=5000),
        *flags(listen_metrics_urls=f"http://{HOST}:{_HEALTH + number - 1 + port_offset}"),
        *flags(cert_file=cert, key_file=key, trusted_ca_file=ca),
        *flags(peer_cert_file=cert, peer_key_file=key, peer_trusted_ca_file=ca),
        "--client-cert-auth",
        "--peer-client-cert-auth",
        *flags(auto_compaction_mode="periodic", auto_compaction_retention="10m"),
        *flags(quota_backend_bytes=256 * 1024 * 1024),
    ]


def _ask_for_passwords(data: DataDir, port_offset: int) -> None:
    """Makes the user `im`, who may read and write all keys, and has every call prove who makes it."""
    done = data.path / "infra" / "etcd-cluster" / "asks-for-passwords"
    if done.exists():
        return
    control = partial(etcdctl, data, _described(port_offset)["hosts"])
    if "Status: true" not in control("auth", "status"):
        for user in ("root", _USER):
            control("user", "add", user, "--interactive=false", given=_password(data, user))
        control("role", "add", _USER)
        control("role", "grant-permission", _USER, "--prefix", "readwrite", "")
        control("user", "grant-role", _USER, _USER)
        control("user", "grant-role", "root", "root")
        control("auth", "enable")
    done.touch()


def etcdctl(
    data: DataDir, hosts: Iterable[str], *words: str, given: str = "", as_root: bool = False
) -> str:
    """What it says to ``words``; ``given`` is its input.

    Raises LocalError when it fails, but not because something was there already.
    """
    made = Certificates(data.secrets / "tls")
    env = {
        **os.environ,
        "ETCDCTL_ENDPOINTS": ",".join(f"https://{host}" for host in hosts),
        "ETCDCTL_CACERT": str(made.ca),
        "ETCDCTL_CERT": str(made.certificate("im")),
        "ETCDCTL_KEY": str(made.key("im")),
    }
    if as_root:
        env |= {"ETCDCTL_USER": "root", "ETCDCTL_PASSWORD": _password(data, "root")}
    done = subprocess.run(
        [str(Path(etcd_program()).with_name("etcdctl")), *words],
        env=env,
        input=f"{given}\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT_S,
    )
    said = done.stdout + done.stderr
    # What a start that was broken off has made already.
    if done.returncode != 0 and "already exists" not in said:
        raise LocalError(f"etcdctl {' '.join(words)} failed:\n{said}")
    return done.stdout


def _password(data: DataDir, user: str) -> str:
    return secret_once(data.secrets / _password_file(user), bytes_of_entropy=24)


def _password_file(user: str) -> str:
    return "etcd_password" if user == _USER else f"etcd_{user}_password"


def _described(port_offset: int) -> dict[str, Any]:
    return {
        "hosts": [f"{HOST}:{_CLIENTS + number - 1 + port_offset}" for number in _MEMBERS],
        "user": _USER,
        "password_file": f"secrets/{_password_file(_USER)}",
        "ca_cert_file": "secrets/tls/ca.pem",
        "cert_file": "secrets/tls/im.pem",
        "cert_key_file": "secrets/tls/im.key",
    }


ETCD_CLUSTER = Cluster("etcd", _servers, _described)
