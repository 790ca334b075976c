"""A token bucket in this process, for what one connection may do."""

from __future__ import annotations

import time

LONGEST_WAIT_S = 60.0


class Bucket:
    """``per_second`` for long, ``burst`` at once.

    Who is refused is told when its turn would come, each one a turn later than the one before: so
    that a queue that was refused as a whole does not come back as a whole.
    """

    __slots__ = ("_burst_s", "_every_s", "_full_at", "_promised_until")

    def __init__(self, per_second: float, burst: int) -> None:
        self._every_s = 1 / per_second
        self._burst_s = burst / per_second
        # When it will be full again if nothing is taken, and the last turn that was promised; both in
        # seconds of time.monotonic().
        self._full_at = self._promised_until = 0.0

    def take(self) -> float:
        """0.0 when there is a token; else seconds until it makes sense to try again."""
        now = time.monotonic()
        full_at = max(self._full_at, now) + self._every_s
        if full_at - now <= self._burst_s:
            self._full_at = full_at
            return 0.0
        turn = max(self._promised_until + self._every_s, full_at - self._burst_s)
        self._promised_until = min(turn, now + LONGEST_WAIT_S)
        return self._promised_until - now
