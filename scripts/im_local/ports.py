"""Ports that are to be had: free now or in a moment, and who has those that are not."""

import asyncio
import contextlib
import errno
import fcntl
import os
import random
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from im_local.console import Say
from im_local.errors import LocalError, PortTaken

HOST = "127.0.0.1"
# An outgoing connection may hold a port of the kernel's range for outgoing ones, as long as it lasts.
PATIENCE_S = 5.0
# For what has no port of its own: below the kernel's range, and beside the ports that have a name.
_SPARE = range(17_000, 19_000)

_PORTS = 65_536
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENING = "0A"
_NETWORK = Path("/proc/self/ns/net")
# Of this process, bound and never listening.
_kept: dict[int, socket.socket] = {}


@dataclass(frozen=True)
class Wanted:
    """A port, which process wants it, and what for."""

    port: int
    process: str
    purpose: str


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now; the rests of closed connections do not count.

    Raises OSError for what is no port at all, or one that this user may not have.
    """
    try:
        _bound(port).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise
    return True


def claim(port: int, *, for_another: bool = False) -> bool:
    """Have the port for this process until it ends; False when another process of this user has.

    Between a look at a port and a server that listens there lies a moment, in which a second start
    would find the port free as well. Who chooses a port ``for_another`` process, which claims it in its
    turn, keeps it only from those who choose, too.
    """
    byte = port + _PORTS if for_another else port
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except OSError:
        return False
    return True


def spare_ports() -> Iterator[int]:
    """Ports that are free now, each once. Raises LocalError when there are no more."""
    for port in random.sample(_SPARE, len(_SPARE)):
        if is_free(port):
            yield port
    raise LocalError(f"No port from {_SPARE[0]} to {_SPARE[-1]} is free.")


async def ensure_free(
    wanted: Iterable[Wanted], *, say: Say, patience_s: float = PATIENCE_S
) -> None:
    """Claim all, keep them from outgoing connections, and return when they are free. Raises PortTaken
    at once when somebody listens on one or has claimed it, and after the patience when one is held
    otherwise; LocalError for what cannot be a port.
    """
    deadline = time.monotonic() + patience_s
    for each in wanted:
        if not _is_free(each) and not listener_on(each.port):
            say(f"waiting for port {each.port}, which a connection of another program holds")
        while not _is_free(each):
            listener = listener_on(each.port)
            if listener or time.monotonic() > deadline:
                raise _taken(each, listener or "another program")
            await asyncio.sleep(0.1)
        if not claim(each.port):
            raise _taken(each, "another start, of which nothing listens yet")
        _keep_from_connections(each.port)


def listener_on(port: int) -> str:
    """Who listens there, as far as /proc tells this user; empty when nobody is seen to."""
    inodes = {inode for table in _TABLES for inode in _listening_sockets(table, port)}
    if not inodes:
        return ""
    owner = _owner({f"socket:[{inode}]" for inode in inodes})
    return owner or "a program of another user"


def _keep_from_connections(port: int) -> None:
    """As long as this process lives the kernel gives the port, if it is of its range, to no outgoing
    connection, as it is bound by name; servers, which set SO_REUSEADDR, listen beside that. Otherwise
    it may be gone before its server listens, or while that is started again.
    """
    if sys.platform != "linux" or port in _kept:
        return
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        kept = stack.enter_context(_bound(port))
        # Where that is not how it is, it is let go.
        with _bound(port) as server:
            server.listen()
        _kept[port] = kept
        stack.pop_all()


def _bound(port: int) -> socket.socket:
    """As a server binds it: the rests of closed connections do not count. Raises OSError."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except BaseException:
        bound.close()
        raise
    return bound


def _is_free(wanted: Wanted) -> bool:
    if not 0 < wanted.port < _PORTS:
        message = f"{wanted.process} would need port {wanted.port}; choose another offset."
        raise LocalError(message)
    try:
        return is_free(wanted.port)
    except OSError as error:
        raise LocalError(f"{wanted.process} cannot have port {wanted.port}: {error}") from error


def _taken(wanted: Wanted, by: str) -> PortTaken:
    return PortTaken(
        f"Port {wanted.port}, which {wanted.process} needs ({wanted.purpose}), is in use by {by}. "
        "Choose other ports with --port-offset N."
    )


@lru_cache(maxsize=1)
def _claims() -> int:
    """A file of which a byte or two are locked for each port; its one descriptor stays open, as closing
    any would give up all. Another network has ports of its own."""
    network = 0
    with contextlib.suppress(OSError):
        network = _NETWORK.stat().st_ino
    path = Path(tempfile.gettempdir()) / f"im-ports-{os.getuid()}-{network}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _listening_sockets(table: Path, port: int) -> list[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    ending = f":{port:04X}"
    return [row[9] for row in rows if row[1].endswith(ending) and row[3] == _LISTENING]


def _owner(sockets: set[str]) -> str:
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        # Processes come and go, and those of others may not be looked at.
        with contextlib.suppress(OSError):
            if os.readlink(link) in sockets:
                pid = link.parts[2]
                return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})"
    return ""
