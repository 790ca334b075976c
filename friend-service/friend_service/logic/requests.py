"""Friend requests."""

from __future__ import annotations

from dataclasses import replace

from friend_service.logic.changes import Between, between
from friend_service.logic.people import Person, people_by_id, somebody
from friend_service.model import blocks, friendships, requests
from friend_service.model.requests import FriendRequest
from friend_service.model.tables import MAX_MESSAGE, Status
from friend_service.svc import ServiceContext
from im_common.domain.events import NewFriendRequest
from im_common.domain.ids import now_ms
from im_common.domain.names import clean_text
from im_common.domain.paging import page_limit, read_cursor, write_cursor
from im_common.errors import AppError, Code, invalid, not_found

DAY_MS = 86_400_000
# What a list of requests can be narrowed to; None is all of them.
STATUSES: dict[str, Status | None] = {
    **{status.name.lower(): status for status in Status},
    "": Status.PENDING,
    "all": None,
}


async def send_friend_request(
    svc: ServiceContext, user_id: int, target_id: int, message: str, *, is_repeat: bool = False
) -> tuple[int, bool]:
    """The id of the request; and whether it is one of the other's, which is accepted with that.

    ``is_repeat``: who has asked already, or become a friend so, is told of that again.

    Raises:
        AppError: INVALID_ARGUMENT, NOT_FOUND (no such user), ALREADY_EXISTS (asked already, or
            friends already), BLOCKED (by the other), FAILED_PRECONDITION (the caller has blocked the
            other), RATE_LIMITED (too many pending).
    """
    if target_id == user_id:
        raise invalid("user_id", "must be another user")
    message = clean_text("message", message, most=MAX_MESSAGE, lines=True)
    asker = await somebody(svc, user_id, and_also=target_id)

    def ask(pair: Between) -> tuple[int, bool]:
        done = _done_before(pair, user_id, target_id) if is_repeat else None
        if done is not None:
            return done.request_id, done.from_user_id == target_id
        _check_may_ask(pair, user_id, target_id)
        pending = _pending(pair, user_id, target_id)
        if pending is None:
            return _ask(pair, asker, target_id, message), False
        if pending.from_user_id == user_id:
            raise AppError(Code.ALREADY_EXISTS, "you have asked this user already")
        pair.make_friends(pending)
        return pending.request_id, True

    return await between(svc, user_id, target_id, ask)


async def cancel_friend_request(svc: ServiceContext, user_id: int, request_id: int) -> None:
    """Takes the caller's own request back; again, or when it is too old, nothing happens.

    Raises:
        AppError: NOT_FOUND, PERMISSION_DENIED (somebody else's), FAILED_PRECONDITION (it was
            decided).
    """
    found = await _request_of(svc, user_id, request_id)
    if found.from_user_id != user_id:
        raise AppError(Code.PERMISSION_DENIED, "only who asked can take a request back")

    def cancel(pair: Between) -> None:
        request = _current(pair, request_id)
        if request.status is Status.PENDING:
            pair.cancel(request)
        elif request.status in (Status.ACCEPTED, Status.REJECTED):
            raise _decided(request)

    await between(svc, found.from_user_id, found.to_user_id, cancel)


async def accept_friend_request(svc: ServiceContext, user_id: int, request_id: int) -> None:
    """Makes the two friends; again, nothing happens.

    Raises:
        AppError: NOT_FOUND, PERMISSION_DENIED (the caller was not asked), FAILED_PRECONDITION (it was
            rejected, taken back, or is too old).
    """
    await _decide(svc, user_id, request_id, Status.ACCEPTED)


async def reject_friend_request(svc: ServiceContext, user_id: int, request_id: int) -> None:
    """Turns a request down; again, nothing happens. Raises as ``accept_friend_request`` does."""
    await _decide(svc, user_id, request_id, Status.REJECTED)


async def list_friend_requests(
    svc: ServiceContext, user_id: int, *, incoming: bool, status: str, limit: int, cursor: str
) -> tuple[list[tuple[FriendRequest, Person]], str]:
    """A page, newest first, each with the other user; and the cursor of the next one (empty when this
    is the last). INVALID_ARGUMENT."""
    size = page_limit(limit)
    if status not in STATUSES:
        raise invalid("status", f"must be one of {', '.join(filter(None, STATUSES))}")
    since = _oldest(svc)
    found = await svc.db.read(
        requests.page,
        user_id,
        incoming=incoming,
        status=STATUSES[status],
        since=since,
        before=read_cursor(cursor, 2),
        limit=size + 1,
    )
    page = [_as_of(request, since) for request in found[:size]]
    others = [one.from_user_id if incoming else one.to_user_id for one in page]
    people = await people_by_id(svc, others)
    next_cursor = write_cursor(page[-1].created_at, page[-1].request_id) if found[size:] else ""
    return [(one, people[other]) for one, other in zip(page, others, strict=True)], next_cursor


def _check_may_ask(pair: Between, user_id: int, target_id: int) -> None:
    blockers = blocks.between(pair.connection, user_id, target_id)
    if target_id in blockers:
        raise AppError(Code.BLOCKED, "this user does not take your requests")
    if user_id in blockers:
        raise AppError(Code.FAILED_PRECONDITION, "you have blocked this user: unblock first")
    if friendships.are_friends(pair.connection, user_id, target_id):
        raise AppError(Code.ALREADY_EXISTS, "you are friends already")


def _done_before(pair: Between, user_id: int, target_id: int) -> FriendRequest | None:
    """The request that a call of the user's made, or accepted, when nothing came after it."""
    pending = _pending(pair, user_id, target_id)
    if pending is not None:
        return pending if pending.from_user_id == user_id else None
    if not friendships.are_friends(pair.connection, user_id, target_id):
        return None
    return requests.last_accepted(pair.connection, user_id, target_id)


def _pending(pair: Between, a: int, b: int) -> FriendRequest | None:
    """Of the two; one that is too old gives way."""
    pending = requests.pending_between(pair.connection, a, b)
    if pending is None or pending.created_at > _oldest(pair.svc):
        return pending
    requests.decide(pair.connection, pending.request_id, Status.EXPIRED)
    return None


def _ask(pair: Between, asker: Person, target_id: int, message: str) -> int:
    most, since = pair.svc.settings.max_pending_requests, _oldest(pair.svc)
    count, oldest = requests.pending_from(pair.connection, asker.user_id, since=since)
    if count >= most:
        raise AppError(
            Code.RATE_LIMITED,
            f"{most} of your requests are pending: take one back first",
            retry_after_ms=max(1, (oldest or pair.now) - since),
        )
    request_id = requests.add(pair.connection, asker.user_id, target_id, message, pair.now)
    pair.tell(
        target_id,
        NewFriendRequest(
            request_id=request_id,
            from_user_id=asker.user_id,
            username=asker.username,
            nickname=asker.nickname,
            avatar=asker.avatar,
            message=message,
        ),
    )
    return request_id


async def _decide(svc: ServiceContext, user_id: int, request_id: int, status: Status) -> None:
    found = await _request_of(svc, user_id, request_id)
    if found.to_user_id != user_id:
        raise AppError(Code.PERMISSION_DENIED, "only who was asked can decide")

    def decide(pair: Between) -> None:
        request = _current(pair, request_id)
        if request.status is status:
            return
        if request.status is not Status.PENDING:
            raise _decided(request)
        if status is Status.ACCEPTED:
            pair.make_friends(request)
        else:
            pair.reject(request)

    await between(svc, found.from_user_id, found.to_user_id, decide)


async def _request_of(svc: ServiceContext, user_id: int, request_id: int) -> FriendRequest:
    """NOT_FOUND when it is none of the user's."""
    found = await svc.db.read(requests.get, request_id)
    if found is None or user_id not in (found.from_user_id, found.to_user_id):
        raise not_found(f"friend request {request_id}")
    return found


def _current(pair: Between, request_id: int) -> FriendRequest:
    """As it is under the lock."""
    request = requests.get(pair.connection, request_id)
    if request is None:
        raise not_found(f"friend request {request_id}")
    return _as_of(request, _oldest(pair.svc))


def _as_of(request: FriendRequest, since: int) -> FriendRequest:
    if request.status is Status.PENDING and request.created_at <= since:
        return replace(request, status=Status.EXPIRED)
    return request


def _oldest(svc: ServiceContext) -> int:
    """A pending request made up to this time is too old."""
    return now_ms() - svc.settings.request_days * DAY_MS


def _decided(request: FriendRequest) -> AppError:
    return AppError(Code.FAILED_PRECONDITION, f"the request is {request.status.name.lower()}")
