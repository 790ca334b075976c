"""Tells friends who are online who came and who went.

A user is here from the first device on, and gone when there has been none for GONE_AFTER_MS: a device
that comes back within that time is nobody's news. What is told is a courtesy, told at most once, to who
is connected; who asks (`GET /v1/users/online`) gets what is so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chat_service.logic.notify import Note, Notifier
from im.friend.v1.friend_pb2 import BatchListFriendIdsRequest
from im.user.v1.user_pb2 import ListHiddenRequest
from im_common.domain import frames
from im_common.domain.call_limits import MOST_LISTS
from im_common.domain.comings import HIDES, Claim, Comings, Look
from im_common.domain.ids import now_ms
from im_common.domain.routes import RouteTable
from im_common.runtime.chunks import chunks
from im_common.runtime.faults import report

if TYPE_CHECKING:
    from im.friend.v1.friend_pb2_grpc import FriendServiceAsyncStub
    from im.user.v1.user_pb2_grpc import PresenceServiceAsyncStub

GONE_AFTER_MS = 5_000
LOOK_EVERY_S = 0.25
# Users in hand at once.
BATCH = 500
_RETRY_MS = 2_000
# A route that is about to run out has had its chance.
_LATE_MS = 200


class PresenceTeller:
    """Any number may run: no two look at one user at a time."""

    def __init__(
        self,
        comings: Comings,
        routes: RouteTable,
        presence: PresenceServiceAsyncStub,
        friends: FriendServiceAsyncStub,
        notifier: Notifier,
    ) -> None:
        self._comings = comings
        self._routes = routes
        self._presence = presence
        self._friends = friends
        self._notifier = notifier

    async def run(self) -> None:
        """For ever. When a part is away it is told later, if it is still true then."""
        while True:
            try:
                while len((await self._look()).looks) == BATCH:
                    pass
            except Exception as error:
                report(error, "presence waits")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> Claim:
        claim = await self._comings.claim(BATCH)
        if not claim.looks:
            return claim
        now = now_ms()
        for look, until in zip(
            claim.looks,
            await self._routes.last_until([k.user_id for k in claim.looks]),
            strict=True,
        ):
            decide(look, until, now)
        news = [look for look in claim.looks if is_news(look)]
        try:
            await self._tell(news, now)
        except Exception as error:
            report(error, "friends not told yet", count=len(news))
            for look in news:
                look.after = None if look.after == 0 else look.before
                look.again_at = now + _RETRY_MS
        await self._comings.settle(claim)
        return claim

    async def _tell(self, news: Sequence[Look], now: int) -> None:
        """Raises AppError when a service is away."""
        coming = [look for look in news if look.after is not None]
        # Who hides from here on finds that friends believe otherwise, and has them told again.
        await self._comings.believe(coming)
        hidden = await self._hidden([look.user_id for look in coming])
        for look in coming:
            if look.user_id in hidden:
                look.after = look.again_at = None
        told = [look for look in news if look.user_id not in hidden]
        for some in chunks(told, MOST_LISTS):
            wanted = BatchListFriendIdsRequest(user_ids=[look.user_id for look in some])
            answer = await self._friends.BatchListFriendIds(wanted)
            for look, friends in zip(some, answer.lists, strict=True):
                if friends.friend_ids:
                    self._tell_friends(look, friends.friend_ids, now)

    async def _hidden(self, user_ids: Sequence[int]) -> set[int]:
        if not user_ids:
            return set()
        return set((await self._presence.ListHidden(ListHiddenRequest(user_ids=user_ids))).user_ids)

    def _tell_friends(self, look: Look, friend_ids: Sequence[int], now: int) -> None:
        online = look.after is not None
        # Who hides looks like somebody who was never here.
        last_seen = now if online else max(0, look.before or 0)
        frame = frames.Presence(user_id=look.user_id, online=online, last_seen=last_seen)
        self._notifier.tell(("presence", look.user_id), Note(frames.encode(frame), friend_ids))


def decide(look: Look, until: int, now: int) -> None:
    """What becomes of a user whose last route runs out at ``until`` (all Unix ms)."""
    look.again_at = None
    if look.before == HIDES:
        # It may be that they do no longer.
        look.after, look.again_at = None, now
    elif until > now:
        look.after, look.again_at = 0, until + _LATE_MS
    elif look.before is None:
        look.after = None
    elif look.before == 0:
        look.after, look.again_at = now, now + GONE_AFTER_MS
    elif now - look.before >= GONE_AFTER_MS:
        look.after = None
    else:
        look.again_at = look.before + GONE_AFTER_MS


def is_news(look: Look) -> bool:
    """Whether friends believe something else."""
    return (look.before is None) != (look.after is None)
