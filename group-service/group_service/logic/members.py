"""Members of groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from group_service.logic.groups import as_member, check_room
from group_service.logic.users import check_exist
from group_service.model import groups, members
from group_service.model.groups import Group
from group_service.model.members import Member
from group_service.model.tables import JoinPolicy, Role
from group_service.svc import ServiceContext
from im_common.domain.ids import now_ms
from im_common.domain.paging import page_limit, read_cursor, write_cursor
from im_common.errors import AppError, Code, invalid

MOST_GROUPS = 500
MOST_INVITED = 1000


@dataclass(slots=True)
class SendInfo:
    """What a message to a group is judged and routed by."""

    group_id: int
    muted: bool
    member_ids: list[int] = field(default_factory=list)
    # Owner and admins.
    manager_ids: list[int] = field(default_factory=list)
    # Members who may not write now.
    muted_member_ids: list[int] = field(default_factory=list)


async def list_members(
    svc: ServiceContext, user_id: int, group_id: int, *, limit: int, cursor: str
) -> tuple[list[Member], str]:
    """A page, by user id, and the cursor of the next one (empty when this is the last).

    Raises:
        AppError: NOT_FOUND, NOT_GROUP_MEMBER.
    """
    size = page_limit(limit)
    after = read_cursor(cursor, 1)

    def read(connection: Connection) -> list[Member]:
        as_member(groups.get(connection, group_id, user_id), group_id)
        return members.page(connection, group_id, after=after[0] if after else 0, limit=size + 1)

    found = await svc.db.read(read)
    page = found[:size]
    return page, write_cursor(page[-1].user_id) if len(found) > size else ""


async def invite_members(
    svc: ServiceContext, user_id: int, group_id: int, user_ids: Iterable[int]
) -> list[int]:
    """Adds users, and gives those who were no members before.

    Raises:
        AppError: NOT_FOUND (the group, a user), NOT_GROUP_MEMBER, PERMISSION_DENIED, GROUP_FULL.
    """
    asked = list(dict.fromkeys(user_ids))
    if len(asked) > MOST_INVITED:
        raise invalid("user_ids", f"may be at most {MOST_INVITED}")
    found = await svc.db.read(groups.get, group_id, user_id)
    _check_may_invite(*as_member(found, group_id))
    await check_exist(svc, "user_ids", asked)

    def add(connection: Connection) -> list[int]:
        # Asked again under the lock: the group may have changed since.
        found = groups.get(connection, group_id, user_id, lock=True)
        group, role = as_member(found, group_id)
        _check_may_invite(group, role)
        known = members.existing(connection, group_id, asked)
        new = [invited for invited in asked if invited not in known]
        check_room(svc, group.member_count + len(new))
        if new:
            roles = [(invited, Role.MEMBER) for invited in new]
            members.add(connection, group_id, roles, joined_at=now_ms())
            groups.count_more(connection, group_id, len(new))
        return new

    return await svc.db.write(add)


async def batch_get_send_info(svc: ServiceContext, group_ids: Sequence[int]) -> list[SendInfo]:
    """Those of the groups that exist, by two queries however many they are."""
    if len(group_ids) > MOST_GROUPS:
        raise invalid("group_ids", f"may be at most {MOST_GROUPS}")
    if not group_ids:
        return []

    def read(connection: Connection) -> tuple[dict[int, bool], list[tuple[int, int, int, int]]]:
        muted = groups.muted_by_id(connection, set(group_ids))
        return muted, members.all_of(connection, set(muted))

    muted, rows = await svc.db.read(read)
    infos = {group_id: SendInfo(group_id, muted[group_id]) for group_id in muted}
    now = now_ms()
    for group_id, user_id, role, muted_until in rows:
        info = infos[group_id]
        info.member_ids.append(user_id)
        if role >= Role.ADMIN:
            info.manager_ids.append(user_id)
        if muted_until > now:
            info.muted_member_ids.append(user_id)
    return list(infos.values())


def _check_may_invite(group: Group, role: Role) -> None:
    if role < Role.ADMIN and group.join_policy is not JoinPolicy.OPEN:
        raise AppError(Code.PERMISSION_DENIED, "only owner and admins may invite to this group")
