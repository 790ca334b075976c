"""A change of a group: one transaction that has the group to itself, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

from group_service.logic import rights
from group_service.logic.rights import Action
from group_service.model import groups, members, requests
from group_service.model.groups import Group
from group_service.model.members import Member
from group_service.model.tables import Role, Status
from group_service.svc import ServiceContext
from im.chat.v1.record_pb2 import ChatRecord, GroupChange
from im_common.bus.topics import CHAT_TOPIC
from im_common.domain.events import EventData, GroupInvited, user_event
from im_common.domain.ids import group_conversation, new_message_id, now_ms
from im_common.errors import AppError, Code, invalid, not_found, unavailable
from im_common.sql.contention import transact
from im_common.sql.outbox import Change, OutboxRecord

T = TypeVar("T")

# Of a bigger group, members learn of its changes by the messages in its history alone.
MOST_TOLD = 2000
# A change is confirmed when its record is in the log: what is written to the group after that comes
# after it. When the log is away for longer, it is not: messages that wait for the log, too, could be
# there first.
RELAYED_WITHIN_S = 1.0


@dataclass(slots=True)
class Editing:
    """A transaction that has a group to itself."""

    svc: ServiceContext
    change: Change
    # As it was.
    group: Group
    user_id: int
    # Who makes the change; None for who is no member.
    actor: Member | None
    # Unix milliseconds; of one group, greater with each change.
    now: int
    # Columns of the group that are other ones at the end.
    columns: dict[str, Any] = field(default_factory=dict)

    @property
    def connection(self) -> Connection:
        return self.change.connection

    @property
    def member(self) -> Member:
        """Who makes the change. NOT_GROUP_MEMBER."""
        if self.actor is None:
            raise not_a_member()
        return self.actor

    def check(self, action: Action, target: Member | None = None) -> None:
        """NOT_GROUP_MEMBER or PERMISSION_DENIED for who may not do it (to the target)."""
        rights.check(action, self.member.role, target.role if target is not None else None)

    def other(self, user_id: int) -> Member:
        """Another member. INVALID_ARGUMENT, NOT_GROUP_MEMBER (who asks), NOT_FOUND."""
        if user_id == self.member.user_id:
            raise invalid("user_id", "must be another member")
        found = members.get(self.connection, self.group.group_id, user_id)
        if found is None:
            said = f"user {user_id} is no member of the group"
            raise AppError(Code.NOT_FOUND, said, field="user_id")
        return found

    def add(self, user_ids: Sequence[int]) -> None:
        """Makes users members who are none; what they asked for is done with that. GROUP_FULL."""
        self._count(len(user_ids))
        check_room(self.svc, self.columns["member_count"])
        rows = [(user_id, Role.MEMBER) for user_id in user_ids]
        group_id = self.group.group_id
        members.add(self.connection, group_id, rows, joined_at=self.now)
        asked = requests.pending_of(self.connection, group_id, user_ids)
        if asked:
            ids = [request.request_id for request in asked]
            requests.decide(self.connection, ids, Status.ACCEPTED)

    def take_out(self, user_id: int) -> None:
        self._count(-1)
        members.remove(self.connection, self.group.group_id, user_id)

    def record(
        self,
        event: str,
        *,
        by: int = 0,
        joined: Collection[int] = (),
        left: Collection[int] = (),
        dismissed: bool = False,
        **said: Any,
    ) -> None:
        """Makes it a message of the group's history, from who makes the change if not ``by`` another;
        the conversation's members are moved with it."""
        record = change_record(
            self.group.group_id,
            event,
            by=by or self.user_id,
            at=self.now,
            joined=joined,
            left=left,
            dismissed=dismissed,
            **said,
        )
        self.change.tell(record)
        self.columns["changed_at"] = self.now
        self.now += 1

    def tell(self, user_ids: Collection[int], data: EventData) -> None:
        """All devices of these users, if they are not too many, and if this is committed."""
        if len(user_ids) <= MOST_TOLD:
            self.change.tell(*(user_event(user_id, data) for user_id in user_ids))

    def tell_members(self, data: EventData) -> None:
        if self.group.member_count <= MOST_TOLD:
            self.tell(members.ids(self.connection, self.group.group_id), data)

    def tell_invited(self, user_ids: Collection[int]) -> None:
        data = GroupInvited(group_id=self.group.group_id, name=self.group.name, by=self.user_id)
        self.tell(user_ids, data)

    def _count(self, more: int) -> None:
        count = self.columns.get("member_count", self.group.member_count)
        self.columns["member_count"] = count + more


async def edit(svc: ServiceContext, user_id: int, group_id: int, work: Callable[[Editing], T]) -> T:
    """Runs ``work`` in a transaction in which nobody else changes the group. When it returns, what is
    written to the group comes after the change, be it one that was made before: this may be a second
    try, after an answer that was lost. NOT_FOUND, and UNAVAILABLE when it is made, but not in the log
    yet."""

    def locked(change: Change) -> T:
        group = groups.lock(change.connection, group_id)
        if group is None:
            raise not_found(f"group {group_id}")
        actor = members.get(change.connection, group_id, user_id)
        now = max(now_ms(), group.changed_at + 1)
        editing = Editing(svc, change, group, user_id, actor, now)
        result = work(editing)
        if editing.columns:
            groups.change(change.connection, group_id, **editing.columns)
        return result

    try:
        result = await transact(svc.outbox.write, locked)
    except AppError:
        # Who is no member any more has been removed.
        await confirm(svc)
        raise
    await confirm(svc)
    return result


async def confirm(svc: ServiceContext) -> None:
    """Waits until what was committed is in the log. UNAVAILABLE when that takes too long."""
    if not await settled(svc):
        raise unavailable("the change is made, but cannot be told yet: try again")


async def settled(svc: ServiceContext) -> bool:
    """Whether what was committed is in the log, now or soon."""
    return await svc.outbox.relayed(RELAYED_WITHIN_S)


def change_record(
    group_id: int,
    event: str,
    *,
    by: int,
    at: int,
    joined: Collection[int] = (),
    left: Collection[int] = (),
    dismissed: bool = False,
    **said: Any,
) -> OutboxRecord:
    """A change for the topic of the group's messages; ``said`` goes into its message."""
    change = GroupChange(
        group_id=group_id,
        joined_user_ids=joined,
        left_user_ids=left,
        dismissed=dismissed,
        created=event == "group_created",
        timestamp=at,
        message_id=new_message_id(),
        user_id=by,
        ext_json=msgspec.json.encode({"event": event, **said}).decode(),
    )
    record = ChatRecord(group_change=change)
    return OutboxRecord(CHAT_TOPIC, group_conversation(group_id), record.SerializeToString())


def check_room(svc: ServiceContext, count: int) -> None:
    """GROUP_FULL when a group may not have so many members."""
    most = svc.settings.max_members
    if count > most:
        raise AppError(Code.GROUP_FULL, f"a group may have at most {most} members")


def not_a_member() -> AppError:
    return AppError(Code.NOT_GROUP_MEMBER, "you are not a member of the group")
