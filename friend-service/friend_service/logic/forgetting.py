"""What is between a user who is no more and others."""

from __future__ import annotations

from sqlalchemy import Connection

from friend_service.logic.changes import Between, between
from friend_service.model import blocks, friendships, requests
from friend_service.model.tables import Status
from friend_service.svc import ServiceContext

# Others in one call: each is a transaction.
AT_ONCE = 50


async def forget_user(svc: ServiceContext, user_id: int) -> bool:
    """Ends friendships and pending requests, and tells the others; the user's own blocks go. Whether
    nothing is left: call it until then. Again, nothing happens."""
    others = await svc.db.read(_others, user_id)
    for other in others[:AT_ONCE]:

        def part(pair: Between, other: int = other) -> None:
            pair.end_friendship(user_id, other)
            pair.end_request(user_id, other)
            blocks.delete(pair.connection, user_id, other)

        await between(svc, user_id, other, part)
    return len(others) <= AT_ONCE


def _others(connection: Connection, user_id: int) -> list[int]:
    """One more than AT_ONCE, if there are."""
    most = AT_ONCE + 1
    friends = [friend for _, friend in friendships.lists(connection, [user_id], limit=most)]
    blocked = [other for _, other in blocks.lists(connection, [user_id], limit=most)]
    asked = [
        request.from_user_id if incoming else request.to_user_id
        for incoming in (True, False)
        for request in requests.page(
            connection,
            user_id,
            incoming=incoming,
            status=Status.PENDING,
            since=0,
            before=None,
            limit=most,
        )
    ]
    return list(dict.fromkeys((*friends, *asked, *blocked)))
