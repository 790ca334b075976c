"""Whom nothing is told of each other: neither typing nor receipts."""

from __future__ import annotations

from collections.abc import Sequence

from chat_service.svc import ServiceContext
from im.friend.v1.friend_pb2 import BatchIsBlockedRequest, IsBlockedRequest

Pair = tuple[int, int]


async def apart(
    svc: ServiceContext, pairs: Sequence[Pair], *, friends_only: bool = False
) -> set[Pair]:
    """Those of whom one has blocked the other; with ``friends_only`` also those who are no friends.
    One call; raises AppError when friend-service is away."""
    if not pairs:
        return set()
    asked = [IsBlockedRequest(user_id=a, target_id=b) for a, b in pairs]
    answer = await svc.friends.BatchIsBlocked(
        BatchIsBlockedRequest(pairs=asked, both_ways=True, with_friends=friends_only)
    )
    found = {pair for pair, blocked in zip(pairs, answer.blocked, strict=True) if blocked}
    if friends_only:
        known = zip(pairs, answer.friends, strict=True)
        found.update(pair for pair, friends in known if not friends)
    return found
