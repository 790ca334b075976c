"""Joining groups, and requests to."""

from __future__ import annotations

from sqlalchemy import Connection

from group_service.logic.changes import Editing, edit
from group_service.logic.groups import as_member
from group_service.logic.rights import Action, check
from group_service.model import groups, members, requests
from group_service.model.requests import JoinRequest
from group_service.model.tables import MAX_MESSAGE, JoinPolicy, Role, Status
from group_service.svc import ServiceContext
from im_common.domain.events import GroupJoinHandled, GroupJoinRequested
from im_common.domain.names import clean_text
from im_common.domain.paging import page_limit, read_cursor, write_cursor
from im_common.domain.people import Person, people_by_id
from im_common.errors import AppError, Code, not_found


async def join_group(
    svc: ServiceContext, user_id: int, group_id: int, message: str
) -> tuple[bool, int]:
    """Whether the user is a member now, or else the id of the request that waits. Again, nothing
    happens.

    Raises:
        AppError: INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED (only by invitation), GROUP_FULL.
    """
    message = clean_text("message", message, most=MAX_MESSAGE, lines=True)

    def join(editing: Editing) -> tuple[bool, int]:
        if editing.actor is not None:
            return True, 0
        policy = editing.group.join_policy
        if policy is JoinPolicy.INVITE_ONLY:
            said = "one joins this group by invitation only"
            raise AppError(Code.PERMISSION_DENIED, said)
        if policy is JoinPolicy.APPROVAL:
            return False, _ask(editing, message)
        editing.add([user_id])
        editing.record("member_joined", joined=[user_id], user_id=user_id)
        return True, 0

    return await edit(svc, user_id, group_id, join)


async def list_join_requests(
    svc: ServiceContext, user_id: int, group_id: int, *, limit: int, cursor: str
) -> tuple[list[tuple[JoinRequest, Person]], str]:
    """Pending ones, newest first: a page, and the cursor of the next one (empty when this is the last).
    NOT_FOUND, NOT_GROUP_MEMBER, PERMISSION_DENIED."""
    size = page_limit(limit)
    before = read_cursor(cursor, 1)

    def read(connection: Connection) -> list[JoinRequest]:
        _, role = as_member(groups.get(connection, group_id, user_id), group_id)
        check(Action.HANDLE_REQUESTS, role)
        below = before[0] if before else None
        return requests.page(connection, group_id, before=below, limit=size + 1)

    found = await svc.db.read(read)
    page = found[:size]
    people = await people_by_id(svc.users, [request.user_id for request in page])
    next_cursor = write_cursor(page[-1].request_id) if len(found) > size else ""
    return [(request, people[request.user_id]) for request in page], next_cursor


async def handle_join_request(
    svc: ServiceContext, user_id: int, group_id: int, request_id: int, *, accept: bool
) -> None:
    """Lets a user in, or turns them down; again, nothing happens.

    Raises:
        AppError: NOT_FOUND (the group, the request), NOT_GROUP_MEMBER, PERMISSION_DENIED,
            FAILED_PRECONDITION (the opposite was decided), GROUP_FULL (it goes on waiting).
    """
    wanted = Status.ACCEPTED if accept else Status.REJECTED

    def handle(editing: Editing) -> None:
        editing.check(Action.HANDLE_REQUESTS)
        request = requests.get(editing.connection, group_id, request_id)
        if request is None:
            raise not_found(f"request {request_id}")
        if request.status is wanted:
            return
        if request.status is not Status.PENDING:
            said = f"the request is {request.status.name.lower()}"
            raise AppError(Code.FAILED_PRECONDITION, said)
        requests.decide(editing.connection, [request_id], wanted)
        if accept:
            asker = request.user_id
            editing.add([asker])
            editing.record(
                "member_joined", by=asker, joined=[asker], user_id=asker, accepted_by=user_id
            )
        handled = GroupJoinHandled(group_id=group_id, request_id=request_id, accepted=accept)
        editing.tell([request.user_id], handled)

    await edit(svc, user_id, group_id, handle)


def _ask(editing: Editing, message: str) -> int:
    group_id, user_id = editing.group.group_id, editing.user_id
    pending = requests.pending_of(editing.connection, group_id, [user_id])
    if pending:
        return pending[0].request_id
    request_id = requests.add(editing.connection, group_id, user_id, message, editing.now)
    asked = GroupJoinRequested(
        group_id=group_id, request_id=request_id, user_id=user_id, message=message
    )
    editing.tell(members.ids(editing.connection, group_id, least=Role.ADMIN), asked)
    return request_id
