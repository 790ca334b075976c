"""The groups of a user who is no more."""

from __future__ import annotations

from sqlalchemy import Connection

from group_service.logic.changes import Editing, edit
from group_service.logic.groups import end_group, hand_over
from group_service.model import groups, members, requests
from group_service.model.tables import Role, Status
from group_service.svc import ServiceContext
from im_common.errors import AppError, Code

# Groups in one call: each is a transaction that is told before it counts.
AT_ONCE = 20


async def forget_user(svc: ServiceContext, user_id: int) -> bool:
    """Takes the user out of groups and of what they asked to join. Whether nothing is left: call it
    until then. Again, nothing happens."""
    ids = await svc.db.read(_groups_of, user_id)
    for group_id in ids[:AT_ONCE]:
        try:
            await edit(svc, user_id, group_id, _forget)
        except AppError as error:
            # Dismissed in between, with all that was in it.
            if error.code is not Code.NOT_FOUND:
                raise
    return len(ids) <= AT_ONCE


def _groups_of(connection: Connection, user_id: int) -> list[int]:
    """One more than AT_ONCE, if there are."""
    most = AT_ONCE + 1
    found = groups.page_of_user(connection, user_id, before=None, limit=most)
    asked = requests.pending_from(connection, user_id, limit=most)
    ids = [*(one.group.group_id for one in found), *(one.group_id for one in asked)]
    return list(dict.fromkeys(ids))


def _forget(editing: Editing) -> None:
    connection, group_id, user_id = editing.connection, editing.group.group_id, editing.user_id
    asked = requests.pending_of(connection, group_id, [user_id])
    requests.decide(connection, [request.request_id for request in asked], Status.REJECTED)
    if editing.actor is None:
        return
    if editing.actor.role is Role.OWNER:
        heir = members.heir(connection, group_id, user_id)
        if heir is None:
            end_group(editing)
            return
        hand_over(editing, heir)
    editing.take_out(user_id)
    editing.record("member_left", left=[user_id], user_id=user_id)
