"""What a client may take of a process before it is known: header bytes, time, connections.

The HTTP server of each process (``http_protocol``) and ws-gateway's handshake keep to the same numbers.
"""

from __future__ import annotations

import resource
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass
from typing import Protocol

from im_common.runtime.addresses import network

MAX_HEADER_BYTES = 32 * 1024
# From the first byte of a header to its last.
HEADER_TIMEOUT_S = 10.0
# From the connection to the first byte of its first request.
FIRST_REQUEST_TIMEOUT_S = 30.0
BODY_TIMEOUT_S = 60.0
# Files that a process opens besides the connections of its clients: logs, databases, other services.
RESERVED_FILES = 256
_FEWEST_CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Of one HTTP listener; what is longer than ``header_bytes`` gets 431."""

    header_bytes: int = MAX_HEADER_BYTES
    header_timeout_s: float = HEADER_TIMEOUT_S
    first_request_timeout_s: float = FIRST_REQUEST_TIMEOUT_S
    # From the end of the header to the end of the body.
    body_timeout_s: float = BODY_TIMEOUT_S
    # Paths that begin so take large bodies, and so much time for one.
    large_path: bytes | None = None
    large_body_timeout_s: float = BODY_TIMEOUT_S


class Guest(Protocol):
    """A connection of a client."""

    def evict(self) -> None:
        """Ends it at once: its place is taken."""


class Guests:
    """The connections of a listener: at most ``most``, and at most ``most_by_address`` from one address
    (0: no such bound).

    Where there is no place the connection gives way that has been at rest for the longest: one that has
    asked for nothing yet, or got its answer. So who only opens connections keeps nobody out, not even
    others at its own address. One that is at work never gives way.
    """

    def __init__(self, most: int, most_by_address: int) -> None:
        self._most = most
        self._most_by_address = most_by_address
        self._addresses: dict[Guest, str] = {}
        self._counts: Counter[str] = Counter()
        # Ordered by when they came to rest.
        self._resting: OrderedDict[Guest, None] = OrderedDict()
        self._resting_at: defaultdict[str, OrderedDict[Guest, None]] = defaultdict(OrderedDict)

    def enter(self, guest: Guest, address: str) -> bool:
        """Whether there is a place for it; it is at rest then. ``address`` may be empty: not known."""
        key = network(address)
        bound = self._most_by_address
        if bound and key and self._counts[key] >= bound:
            if not self._make_room(self._resting_at.get(key, OrderedDict())):
                return False
        elif len(self._addresses) >= self._most and not self._make_room(self._resting):
            return False
        self._addresses[guest] = key
        self._counts[key] += 1
        self.rest(guest)
        return True

    def rest(self, guest: Guest) -> None:
        """It waits for its client."""
        key = self._addresses.get(guest)
        if key is not None:
            self._resting[guest] = None
            self._resting_at[key][guest] = None

    def work(self, guest: Guest) -> None:
        """Its client waits for it."""
        self._resting.pop(guest, None)
        key = self._addresses.get(guest)
        if key is not None and key in self._resting_at:
            self._resting_at[key].pop(guest, None)
            if not self._resting_at[key]:
                del self._resting_at[key]

    def leave(self, guest: Guest) -> None:
        """It has ended, or counts no more. Safe to repeat."""
        self.work(guest)
        key = self._addresses.pop(guest, None)
        if key is not None:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def _make_room(self, resting: OrderedDict[Guest, None]) -> bool:
        if not resting:
            return False
        oldest = next(iter(resting))
        self.leave(oldest)
        oldest.evict()
        return True


def raise_open_files() -> None:
    """Takes as many open files as the system allows the process: shells and services start with a
    soft limit of 1,024, a connection each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        # macOS calls its limit infinite and takes less.
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def affordable(connections: int) -> int:
    """As many of them as the process may open files for, with some to spare."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return connections
    return min(connections, max(_FEWEST_CONNECTIONS, soft - RESERVED_FILES))
