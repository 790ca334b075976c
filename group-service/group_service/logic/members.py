"""Members of groups."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from group_service.logic.changes import Editing, confirm, edit
from group_service.logic.groups import as_member
from group_service.logic.rights import Action, check
from group_service.logic.users import check_may_be_added
from group_service.model import groups, members
from group_service.model.groups import Group
from group_service.model.members import Member
from group_service.model.tables import MAX_NICKNAME, JoinPolicy, Role
from group_service.svc import ServiceContext
from im.chat.v1.chat_pb2 import ListReadersRequest
from im_common.domain.events import GroupRemoved
from im_common.domain.ids import MAX_ID, now_ms
from im_common.domain.names import clean_text
from im_common.domain.paging import page_limit, read_cursor, write_cursor
from im_common.domain.people import Person, people_by_id
from im_common.errors import AppError, Code, invalid

MOST_GROUPS = 500
MOST_INVITED = 1000


@dataclass(slots=True)
class SendInfo:
    """What a message to a group is judged by. The users are those who were asked about."""

    group_id: int
    muted: bool
    # Of all members.
    member_count: int
    member_ids: list[int] = field(default_factory=list)
    # Owner and admins.
    manager_ids: list[int] = field(default_factory=list)
    # Members who may not write now.
    muted_member_ids: list[int] = field(default_factory=list)


async def list_members(
    svc: ServiceContext, user_id: int, group_id: int, *, limit: int, cursor: str
) -> tuple[list[tuple[Member, Person]], str]:
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
    people = await people_by_id(svc.users, [member.user_id for member in page])
    next_cursor = write_cursor(page[-1].user_id) if len(found) > size else ""
    return [(member, people[member.user_id]) for member in page], next_cursor


async def list_readers(
    svc: ServiceContext, user_id: int, group_id: int, seq: int, *, limit: int, cursor: str
) -> tuple[list[tuple[Member | None, Person]], str]:
    """Who has read a message of the caller's: a page, by user id, and the cursor of the next one (empty
    when this is the last). A page may have few or none while there is a next one.

    Raises:
        AppError: INVALID_ARGUMENT, NOT_FOUND (the group, the message), NOT_GROUP_MEMBER,
            PERMISSION_DENIED (somebody else's message).
    """
    page_limit(limit)
    after = read_cursor(cursor, 1)
    as_member(await svc.db.read(groups.get, group_id, user_id), group_id)
    request = ListReadersRequest(
        group_id=group_id,
        seq=seq,
        user_id=user_id,
        after_user_id=after[0] if after else 0,
        limit=limit,
    )
    answer = await svc.chat.ListReaders(request)
    ids = list(answer.user_ids)
    known = await svc.db.read(members.of_users, group_id, ids)
    people = await people_by_id(svc.users, ids)
    next_cursor = write_cursor(answer.upto_user_id) if answer.has_more else ""
    return [(known.get(reader), people[reader]) for reader in ids], next_cursor


async def invite_members(
    svc: ServiceContext, user_id: int, group_id: int, user_ids: Iterable[int]
) -> list[int]:
    """Adds users, and gives those who were no members before.

    Raises:
        AppError: NOT_FOUND (the group, a user), NOT_GROUP_MEMBER, PERMISSION_DENIED, BLOCKED (by one
            of them), GROUP_FULL.
    """
    asked = list(dict.fromkeys(user_ids))
    if len(asked) > MOST_INVITED:
        raise invalid("user_ids", f"may be at most {MOST_INVITED}")
    group, role = as_member(await svc.db.read(groups.get, group_id, user_id), group_id)
    check(_inviting(group), role)
    known = await svc.db.read(members.existing, group_id, asked)
    new = [invited for invited in asked if invited not in known]
    await check_may_be_added(svc, "user_ids", user_id, new)

    def invite(editing: Editing) -> list[int]:
        # Again under the lock: the group may have changed since.
        editing.check(_inviting(editing.group))
        known = members.existing(editing.connection, group_id, new)
        added = [invited for invited in new if invited not in known]
        if added:
            editing.add(added)
            editing.record("members_added", joined=added, user_ids=added)
            editing.tell_invited(added)
        return added

    if not new:
        await confirm(svc)
        return []
    return await edit(svc, user_id, group_id, invite)


async def leave_group(svc: ServiceContext, user_id: int, group_id: int) -> None:
    """NOT_FOUND, NOT_GROUP_MEMBER, FAILED_PRECONDITION (the owner)."""

    def leave(editing: Editing) -> None:
        if editing.member.role is Role.OWNER:
            said = "the owner cannot leave: hand the group over first, or dismiss it"
            raise AppError(Code.FAILED_PRECONDITION, said)
        editing.check(Action.LEAVE)
        editing.take_out(user_id)
        editing.record("member_left", left=[user_id], user_id=user_id)

    await edit(svc, user_id, group_id, leave)


async def remove_member(svc: ServiceContext, user_id: int, group_id: int, removed_id: int) -> None:
    """INVALID_ARGUMENT (oneself), NOT_FOUND (the group, the member), NOT_GROUP_MEMBER,
    PERMISSION_DENIED."""

    def remove(editing: Editing) -> None:
        editing.check(Action.REMOVE, editing.other(removed_id))
        editing.take_out(removed_id)
        editing.record("member_removed", left=[removed_id], user_id=removed_id)
        editing.tell([removed_id], GroupRemoved(group_id=group_id, by=user_id))

    await edit(svc, user_id, group_id, remove)


async def set_member_role(
    svc: ServiceContext, user_id: int, group_id: int, member_id: int, role: Role
) -> None:
    """Makes a member an admin, whom nothing mutes, or an admin a member. INVALID_ARGUMENT (oneself; to
    make an owner), NOT_FOUND (the group, the member), NOT_GROUP_MEMBER, PERMISSION_DENIED."""
    if role is Role.OWNER:
        raise invalid("role", "must be member or admin: a group is handed over by a transfer")

    def set_role(editing: Editing) -> None:
        target = editing.other(member_id)
        editing.check(Action.SET_ROLE, target)
        if target.role is role:
            return
        muted_until = 0 if role is Role.ADMIN else target.muted_until
        members.change(editing.connection, group_id, member_id, role=role, muted_until=muted_until)
        editing.record("role_changed", user_id=member_id, role=role.name.lower())

    await edit(svc, user_id, group_id, set_role)


async def mute_member(
    svc: ServiceContext, user_id: int, group_id: int, member_id: int, muted_until: int
) -> None:
    """Keeps a member from writing until then (Unix ms); a time that has passed ends that.
    INVALID_ARGUMENT (oneself, the time), NOT_FOUND (the group, the member), NOT_GROUP_MEMBER,
    PERMISSION_DENIED."""
    if not 0 <= muted_until <= MAX_ID:
        raise invalid("muted_until", "must be a time in Unix milliseconds")

    def mute(editing: Editing) -> None:
        target = editing.other(member_id)
        editing.check(Action.MUTE_MEMBER, target)
        until = muted_until if muted_until > now_ms() else 0
        if target.muted_until != until:
            members.change(editing.connection, group_id, member_id, muted_until=until)
            editing.record("member_muted", user_id=member_id, muted_until=until)

    await edit(svc, user_id, group_id, mute)


async def set_group_nickname(
    svc: ServiceContext, user_id: int, group_id: int, member_id: int, nickname: str
) -> None:
    """The caller's own name in the group. INVALID_ARGUMENT, NOT_FOUND, NOT_GROUP_MEMBER,
    PERMISSION_DENIED (another member's)."""
    nickname = clean_text("nickname", nickname, most=MAX_NICKNAME)

    def rename(editing: Editing) -> None:
        if editing.member.user_id != member_id:
            said = "only members themselves choose their names in a group"
            raise AppError(Code.PERMISSION_DENIED, said)
        members.change(editing.connection, group_id, user_id, nickname=nickname)

    await edit(svc, user_id, group_id, rename)


async def batch_get_send_info(
    svc: ServiceContext, asked: Mapping[int, Collection[int]]
) -> list[SendInfo]:
    """Those of the groups that exist, with what there is to say of the users asked about of each; by
    two queries however many they are, and however big the groups."""
    if len(asked) > MOST_GROUPS:
        raise invalid("groups", f"may be at most {MOST_GROUPS}")
    if not asked:
        return []
    pairs = {(group_id, user_id) for group_id, of_one in asked.items() for user_id in of_one}

    def read(connection: Connection) -> tuple[list[SendInfo], list[tuple[int, int, int, int]]]:
        found = [SendInfo(*row) for row in groups.sizes(connection, asked.keys())]
        return found, members.of_pairs(connection, pairs)

    infos, rows = await svc.db.read(read)
    by_id, now = {info.group_id: info for info in infos}, now_ms()
    for group_id, user_id, role, muted_until in rows:
        # A group may have been dismissed between the two queries.
        if (info := by_id.get(group_id)) is None:
            continue
        info.member_ids.append(user_id)
        if role >= Role.ADMIN:
            info.manager_ids.append(user_id)
        if muted_until > now:
            info.muted_member_ids.append(user_id)
    return infos


def _inviting(group: Group) -> Action:
    is_open = group.join_policy is JoinPolicy.OPEN
    return Action.INVITE_TO_OPEN if is_open else Action.INVITE
