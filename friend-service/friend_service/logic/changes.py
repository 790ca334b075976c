"""A change of what is between two users: one transaction that has the two to itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection

from friend_service.model import friendships, relations, requests
from friend_service.model.cache import Kind
from friend_service.model.requests import FriendRequest
from friend_service.model.tables import Status
from friend_service.svc import ServiceContext
from im_common.domain.events import (
    EventData,
    FriendAccepted,
    FriendDeleted,
    FriendRejected,
    FriendRequestCancelled,
    user_event,
)
from im_common.domain.ids import now_ms
from im_common.sql.contention import transact
from im_common.sql.outbox import Change

T = TypeVar("T")

# How long an answer "not blocked" or "friends" may be relied on, from when it was asked for. What makes
# it wrong is confirmed that much later.
LEASE_MS = 300


@dataclass(frozen=True, slots=True)
class Between:
    """A transaction that has what is between two users to itself."""

    svc: ServiceContext
    change: Change
    # Unix milliseconds.
    now: int

    @property
    def connection(self) -> Connection:
        return self.change.connection

    def tell(self, user_id: int, data: EventData) -> None:
        """All devices of the user, if and when this is committed."""
        self.change.tell(user_event(user_id, data))

    def make_friends(self, request: FriendRequest) -> None:
        """Accepts a pending request."""
        a, b = request.from_user_id, request.to_user_id
        requests.decide(self.connection, request.request_id, Status.ACCEPTED)
        friendships.add(self.connection, a, b, self.now)
        relations.bump(self.connection, (a, b))
        for user_id, other in ((a, b), (b, a)):
            self.tell(user_id, FriendAccepted(request_id=request.request_id, user_id=other))

    def reject(self, request: FriendRequest) -> None:
        """Turns a pending request down."""
        requests.decide(self.connection, request.request_id, Status.REJECTED)
        told = FriendRejected(request_id=request.request_id, user_id=request.to_user_id)
        self.tell(request.from_user_id, told)

    def cancel(self, request: FriendRequest) -> None:
        """Takes a pending request back."""
        requests.decide(self.connection, request.request_id, Status.CANCELLED)
        told = FriendRequestCancelled(
            request_id=request.request_id, from_user_id=request.from_user_id
        )
        self.tell(request.to_user_id, told)

    def end_request(self, user_id: int, other: int) -> None:
        """Takes the user's pending request back, or turns the other's down; nothing happens when there
        is none."""
        pending = requests.pending_between(self.connection, user_id, other)
        if pending is None:
            return
        if pending.from_user_id == user_id:
            self.cancel(pending)
        else:
            self.reject(pending)

    def end_friendship(self, a: int, b: int) -> None:
        """On both sides; nothing happens when there is none."""
        if not friendships.remove(self.connection, a, b):
            return
        relations.bump(self.connection, (a, b))
        for user_id, other in ((a, b), (b, a)):
            self.tell(user_id, FriendDeleted(user_id=other))


async def between(svc: ServiceContext, a: int, b: int, work: Callable[[Between], T]) -> T:
    """Runs ``work`` in a transaction in which nobody else changes anything between the two. Caches are
    right when it returns. UNAVAILABLE when Redis is away, before anything is done."""

    def locked(change: Change) -> T:
        relations.lock(change.connection, (a, b))
        return work(Between(svc, change, now_ms()))

    lists = [(kind, user_id) for kind in Kind for user_id in (a, b)]
    async with svc.lists.changing(lists):
        return await transact(svc.outbox.write, locked)
