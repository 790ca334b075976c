"""Who has blocked whom, and with `RequireFriendship` who are friends, asked of friend-service, with
leases for pairs that talk a lot.

friend-service says for how long it stands by "not blocked" and "friends": a block, or the end of a
friendship, is not confirmed to who asked for it before the older answers have lapsed. So a pair that
keeps talking is asked for beside its messages, not in front of each of them; every other pair is asked
for with its batch. So is one whose lease has ended, as on a busy machine, and it has one again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import structlog

from im.friend.v1.friend_pb2 import BatchIsBlockedRequest, IsBlockedRequest
from im_common.errors import AppError, Code

if TYPE_CHECKING:
    from im.friend.v1.friend_pb2_grpc import FriendServiceAsyncStub

log = structlog.get_logger(__name__)

# Sender and receiver.
Pair = tuple[int, int]

# A pair that is in so many batches of a second is asked for in the background for the next one.
BUSY_BATCHES = 4
CHOOSE_EVERY_S = 1.0
ASK_EVERY_S = 0.15
# As many as one call may ask for.
MOST_BUSY = 1000


class Blocks:
    def __init__(
        self, friends: FriendServiceAsyncStub, *, require_friendship: bool = False
    ) -> None:
        self._friends = friends
        self._require_friendship = require_friendship
        self._batches: Counter[Pair] = Counter()
        self._busy: set[Pair] = set()
        # Until when (time.monotonic() seconds) it may be relied on that nothing bars the sender.
        self._leases: dict[Pair, float] = {}
        # For how long from the question, as friend-service says.
        self._lease_s = 0.0

    async def among(self, pairs: Collection[Pair]) -> dict[Pair, Code]:
        """Those whose sender may not write to the receiver, and why: BLOCKED, NOT_FRIENDS. Raises
        AppError UNAVAILABLE when friend-service is away and there is a pair without a lease."""
        now = time.monotonic()
        self._batches.update(pairs)
        doubtful = [pair for pair in pairs if self._leases.get(pair, 0.0) <= now]
        if not doubtful:
            return {}
        barred = await self._ask(doubtful)
        self._leases |= self._leases_of(self._busy.intersection(doubtful), barred, now)
        return barred

    async def keep_leases(self) -> None:
        """For ever asks for the pairs that talk a lot, before their leases end."""
        while True:
            end = time.monotonic() + CHOOSE_EVERY_S
            while self._busy and time.monotonic() < end:
                try:
                    await self._renew()
                except AppError as error:
                    # The leases end, and then the batches wait for friend-service.
                    log.warning("blocks not renewed", error=error.message)
                await asyncio.sleep(ASK_EVERY_S)
            await asyncio.sleep(max(0.0, end - time.monotonic()))
            self._choose()

    def _choose(self) -> None:
        busiest = self._batches.most_common(MOST_BUSY)
        self._busy = {pair for pair, batches in busiest if batches >= BUSY_BATCHES}
        self._leases = {pair: self._leases[pair] for pair in self._busy if pair in self._leases}
        self._batches.clear()

    async def _renew(self) -> None:
        asked_at, asked = time.monotonic(), self._busy
        barred = await self._ask(list(asked))
        self._leases = self._leases_of(asked, barred, asked_at)

    def _leases_of(
        self, pairs: Collection[Pair], barred: Collection[Pair], asked_at: float
    ) -> dict[Pair, float]:
        return {pair: asked_at + self._lease_s for pair in pairs if pair not in barred}

    async def _ask(self, pairs: Sequence[Pair]) -> dict[Pair, Code]:
        asked = [IsBlockedRequest(user_id=sender, target_id=to) for sender, to in pairs]
        answer = await self._friends.BatchIsBlocked(
            BatchIsBlockedRequest(pairs=asked, with_friends=self._require_friendship)
        )
        self._lease_s = answer.lease_ms / 1000
        barred: dict[Pair, Code] = {}
        if self._require_friendship:
            known = zip(pairs, answer.friends, strict=True)
            barred = {pair: Code.NOT_FRIENDS for pair, friends in known if not friends}
        for pair, blocked in zip(pairs, answer.blocked, strict=True):
            if blocked:
                barred[pair] = Code.BLOCKED
        return barred
