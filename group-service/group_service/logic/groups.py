"""Groups themselves."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.exc import IntegrityError

from group_service.logic.changes import (
    MOST_TOLD,
    Editing,
    change_record,
    check_room,
    edit,
    not_a_member,
    settled,
)
from group_service.logic.rights import Action
from group_service.logic.users import check_may_be_added
from group_service.model import creations, groups, members, requests
from group_service.model.groups import Group
from group_service.model.tables import (
    MAX_AVATAR,
    MAX_CREATION_KEY,
    MAX_DESCRIPTION,
    MAX_NAME,
    JoinPolicy,
    Role,
)
from group_service.svc import ServiceContext
from im_common.domain.events import (
    GroupDismissed,
    GroupInvited,
    GroupJoinHandled,
    GroupUpdated,
    user_event,
)
from im_common.domain.ids import now_ms
from im_common.domain.names import clean_text
from im_common.domain.paging import page_limit, read_cursor, write_cursor
from im_common.errors import invalid, not_found
from im_common.sql.contention import transact
from im_common.sql.db import is_duplicate_key
from im_common.sql.outbox import Change

MAX_ANNOUNCEMENT = 1024
_KEY = re.compile(rf"[\x21-\x7e]{{0,{MAX_CREATION_KEY}}}")
# What can be changed: how long its text may be, and whether it may have lines.
_TEXTS = {
    "name": (1, MAX_NAME, False),
    "avatar": (0, MAX_AVATAR, False),
    "description": (0, MAX_DESCRIPTION, True),
    "announcement": (0, MAX_ANNOUNCEMENT, True),
}


async def create_group(
    svc: ServiceContext,
    owner_id: int,
    *,
    name: str,
    member_ids: Iterable[int],
    join_policy: JoinPolicy,
    key: str = "",
) -> Group:
    """Makes a group of the owner and ``member_ids``; or, when a call by the same ``key`` has made one,
    gives that.

    Raises:
        AppError: INVALID_ARGUMENT (the name, the key), NOT_FOUND (a member), BLOCKED (by a member),
            GROUP_FULL.
    """
    name = clean_text("name", name, least=1, most=MAX_NAME)
    if not _KEY.fullmatch(key):
        raise invalid("creation_key", f"must have at most {MAX_CREATION_KEY} plain characters")
    made = await svc.db.read(creations.find, owner_id, key) if key else None
    if made is not None:
        return made
    others = [user_id for user_id in dict.fromkeys(member_ids) if user_id != owner_id]
    check_room(svc, 1 + len(others))
    await check_may_be_added(svc, "member_ids", owner_id, others)

    def create(change: Change) -> Group:
        group = _create(change, owner_id, others, name=name, join_policy=join_policy)
        if key:
            creations.add(change.connection, owner_id, key, group.group_id, now=group.created_at)
        return group

    try:
        group = await transact(svc.outbox.write, create)
    except IntegrityError as error:
        made = await svc.db.read(creations.find, owner_id, key) if key else None
        if made is None or not is_duplicate_key(error):
            raise
        group = made
    # Confirmed in any case: a second try would make another group.
    await settled(svc)
    return group


def _create(
    change: Change, owner_id: int, others: Sequence[int], *, name: str, join_policy: JoinPolicy
) -> Group:
    now = now_ms()
    group = groups.add(
        change.connection,
        name=name,
        owner_id=owner_id,
        join_policy=join_policy,
        member_count=1 + len(others),
        created_at=now,
    )
    group_id = group.group_id
    roles = [(owner_id, Role.OWNER), *((user_id, Role.MEMBER) for user_id in others)]
    members.add(change.connection, group_id, roles, joined_at=now)
    everybody = [owner_id, *others]
    change.tell(
        change_record(group_id, "group_created", by=owner_id, at=now, joined=everybody, name=name)
    )
    if len(others) <= MOST_TOLD:
        invited = GroupInvited(group_id=group_id, name=name, by=owner_id)
        change.tell(*(user_event(user_id, invited) for user_id in others))
    return group


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


async def update_group(
    svc: ServiceContext,
    user_id: int,
    group_id: int,
    paths: Collection[str],
    values: Mapping[str, Any],
) -> Group:
    """Changes what ``paths`` name, and gives the group as it is then.

    Raises:
        AppError: INVALID_ARGUMENT (nothing or something unknown is named, a text), NOT_FOUND,
            NOT_GROUP_MEMBER, PERMISSION_DENIED.
    """
    wanted = {path: _checked(path, values) for path in paths}
    if not wanted:
        raise invalid("update_mask", "must name what to change")

    def update(editing: Editing) -> Group:
        editing.check(Action.UPDATE)
        group = editing.group
        new = {name: value for name, value in wanted.items() if getattr(group, name) != value}
        if new:
            editing.columns |= new
            said = {name: _shown(value) for name, value in new.items()}
            editing.record("group_updated", **said)
            editing.tell_members(GroupUpdated(group_id=group_id, **said))
        return replace(group, **new)

    return await edit(svc, user_id, group_id, update)


async def mute_group(svc: ServiceContext, user_id: int, group_id: int, muted: bool) -> None:
    """Lets only owner and admins write, or all again. NOT_FOUND, NOT_GROUP_MEMBER,
    PERMISSION_DENIED."""

    def mute(editing: Editing) -> None:
        editing.check(Action.MUTE_GROUP)
        if editing.group.muted is not muted:
            editing.columns["muted"] = muted
            editing.record("group_muted", muted=muted)
            editing.tell_members(GroupUpdated(group_id=group_id, muted=muted))

    await edit(svc, user_id, group_id, mute)


async def transfer_ownership(
    svc: ServiceContext, user_id: int, group_id: int, new_owner_id: int
) -> None:
    """Makes another member the owner, whom nothing mutes; the owner before is an admin then.

    Raises:
        AppError: INVALID_ARGUMENT (oneself), NOT_FOUND (the group, the member), NOT_GROUP_MEMBER,
            PERMISSION_DENIED.
    """

    def transfer(editing: Editing) -> None:
        editing.check(Action.TRANSFER, editing.other(new_owner_id))
        hand_over(editing, new_owner_id)

    await edit(svc, user_id, group_id, transfer)


def hand_over(editing: Editing, new_owner_id: int) -> None:
    """From who makes the change, the owner, to another member."""
    connection, group_id = editing.connection, editing.group.group_id
    members.change(connection, group_id, new_owner_id, role=Role.OWNER, muted_until=0)
    members.change(connection, group_id, editing.user_id, role=Role.ADMIN)
    editing.columns["owner_id"] = new_owner_id
    editing.record("owner_transferred", user_id=new_owner_id)
    editing.tell_members(GroupUpdated(group_id=group_id, owner_id=new_owner_id))


async def dismiss_group(svc: ServiceContext, user_id: int, group_id: int) -> None:
    """Ends a group; its history stays with its members. NOT_FOUND, NOT_GROUP_MEMBER,
    PERMISSION_DENIED."""

    def dismiss(editing: Editing) -> None:
        editing.check(Action.DISMISS)
        end_group(editing)

    await edit(svc, user_id, group_id, dismiss)


def end_group(editing: Editing) -> None:
    group_id = editing.group.group_id
    editing.tell_members(GroupDismissed(group_id=group_id, by=editing.user_id))
    pending = requests.page(editing.connection, group_id, before=None, limit=None)
    for request in pending:
        handled = GroupJoinHandled(group_id=group_id, request_id=request.request_id, accepted=False)
        editing.tell([request.user_id], handled)
    requests.reject_all(editing.connection, group_id)
    members.remove_all(editing.connection, group_id)
    editing.columns |= {"dismissed_at": editing.now, "member_count": 0}
    editing.record("group_dismissed", dismissed=True)


def as_member(found: tuple[Group, Role | None] | None, group_id: int) -> tuple[Group, Role]:
    """What ``groups.get`` found, or NOT_FOUND or NOT_GROUP_MEMBER."""
    if found is None:
        raise not_found(f"group {group_id}")
    group, role = found
    if role is None:
        raise not_a_member()
    return group, role


def _checked(path: str, values: Mapping[str, Any]) -> Any:
    if path == "join_policy":
        return values[path]
    if path not in _TEXTS:
        raise invalid("update_mask", f"names {path!r}, which cannot be changed")
    least, most, lines = _TEXTS[path]
    return clean_text(path, values[path], least=least, most=most, lines=lines)


def _shown(value: Any) -> Any:
    return value.name.lower() if isinstance(value, JoinPolicy) else value
