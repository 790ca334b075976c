"""Groups themselves."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from group_service.logic.users import check_exist
from group_service.model import groups, members
from group_service.model.groups import Group
from group_service.model.tables import JoinPolicy, Role
from group_service.svc import ServiceContext
from im_common.domain.ids import now_ms
from im_common.domain.names import clean_text
from im_common.domain.paging import page_limit, read_cursor, write_cursor
from im_common.errors import AppError, Code, not_found

MAX_NAME = 64


async def create_group(
    svc: ServiceContext,
    owner_id: int,
    *,
    name: str,
    member_ids: Iterable[int],
    join_policy: JoinPolicy,
) -> Group:
    """Makes a group of the owner and ``member_ids``.

    Raises:
        AppError: INVALID_ARGUMENT (the name), NOT_FOUND (a member), GROUP_FULL.
    """
    name = clean_text("name", name, least=1, most=MAX_NAME)
    others = [user_id for user_id in dict.fromkeys(member_ids) if user_id != owner_id]
    check_room(svc, 1 + len(others))
    await check_exist(svc, "member_ids", others)
    now = now_ms()

    def add(connection: Connection) -> Group:
        group = groups.add(
            connection,
            name=name,
            owner_id=owner_id,
            join_policy=join_policy,
            member_count=1 + len(others),
            created_at=now,
        )
        roles = [(owner_id, Role.OWNER), *((user_id, Role.MEMBER) for user_id in others)]
        members.add(connection, group.group_id, roles, joined_at=now)
        return group

    return await svc.db.write(add)


async def get_group(svc: ServiceContext, user_id: int, group_id: int) -> Group:
    """For members only: NOT_FOUND, NOT_GROUP_MEMBER."""
    found = await svc.db.read(groups.get, group_id, user_id)
    return as_member(found, group_id)[0]


async def list_my_groups(
    svc: ServiceContext, user_id: int, *, limit: int, cursor: str
) -> tuple[list[Group], str]:
    """A page, joined last first, and the cursor of the next one (empty when this is the last)."""
    size = page_limit(limit)
    found = await svc.db.read(
        groups.page_of_user, user_id, before=read_cursor(cursor, 2), limit=size + 1
    )
    page = found[:size]
    more = len(found) > size
    next_cursor = write_cursor(page[-1].joined_at, page[-1].group.group_id) if more else ""
    return [membership.group for membership in page], next_cursor


def check_room(svc: ServiceContext, members: int) -> None:
    """GROUP_FULL when a group may not have so many."""
    most = svc.settings.max_members
    if members > most:
        raise AppError(Code.GROUP_FULL, f"a group may have at most {most} members")


def as_member(found: tuple[Group, Role | None] | None, group_id: int) -> tuple[Group, Role]:
    """What ``groups.get`` found, or NOT_FOUND or NOT_GROUP_MEMBER."""
    if found is None:
        raise not_found(f"group {group_id}")
    group, role = found
    if role is None:
        raise AppError(Code.NOT_GROUP_MEMBER, "you are not a member of the group")
    return group, role
