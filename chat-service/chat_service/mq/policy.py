"""Who may speak to whom, asked of the services that own the answer, at most once for a batch.

A service that does not answer makes the batch wait: nothing is let through unasked, nothing dropped.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from chat_service.mq.blocks import Blocks
from chat_service.mq.item import Item, RecallItem
from im.group.v1.group_pb2 import BatchGetSendInfoRequest, GroupSendInfo
from im.user.v1.user_pb2 import CheckUsersRequest
from im_common.errors import AppError, Code, not_found

if TYPE_CHECKING:
    from im.group.v1.group_pb2_grpc import GroupServiceAsyncStub
    from im.user.v1.user_pb2_grpc import UserServiceAsyncStub

# Accounts are never deleted, so that somebody exists may be remembered for a while.
KNOWN_USER_S = 60.0
MOST_KNOWN_USERS = 100_000


class Policy:
    """Says what is refused, and fills in the members of groups."""

    def __init__(
        self,
        users: UserServiceAsyncStub,
        blocks: Blocks,
        groups: GroupServiceAsyncStub,
    ) -> None:
        self._users = users
        self._blocks = blocks
        self._groups = groups
        self._known_users: dict[int, float] = {}

    async def judge(
        self, items: Sequence[Item], recalls: Sequence[RecallItem] = ()
    ) -> list[AppError | None]:
        """For each item why it is refused, or None; recalls get their group. Raises AppError
        UNAVAILABLE when an owner of the answer is away."""
        singles = [item for item in items if not item.is_group]
        groups = [item for item in items if item.is_group]
        refusals = (
            await self._judge_singles(singles),
            await self._judge_groups(groups, recalls),
        )
        for item in items:
            if item.message.mentions:
                _drop_strangers(item)
        of_singles, of_groups = (iter(part) for part in refusals)
        return [next(of_groups if item.is_group else of_singles) for item in items]

    async def _judge_singles(self, items: Sequence[Item]) -> list[AppError | None]:
        if not items:
            return []
        pairs = list({(item.message.sender_id, item.message.to_user_id) for item in items})
        # Mostly both are known already.
        unknown = await self._unknown_users({receiver for _, receiver in pairs})
        blocked = await self._blocks.among(pairs)

        def refusal(sender_id: int, receiver_id: int) -> AppError | None:
            if receiver_id in unknown:
                return not_found(f"user {receiver_id}")
            if (sender_id, receiver_id) in blocked:
                return AppError(Code.BLOCKED, "the receiver does not take your messages")
            return None

        return [refusal(item.message.sender_id, item.message.to_user_id) for item in items]

    async def _unknown_users(self, user_ids: Iterable[int]) -> set[int]:
        now = time.monotonic()
        doubtful = [user for user in user_ids if self._known_users.get(user, 0.0) < now]
        if not doubtful:
            return set()
        answer = await self._users.CheckUsers(CheckUsersRequest(user_ids=doubtful))
        if len(self._known_users) > MOST_KNOWN_USERS:
            self._known_users.clear()
        self._known_users.update(dict.fromkeys(answer.user_ids, now + KNOWN_USER_S))
        return set(doubtful).difference(answer.user_ids)

    async def _judge_groups(
        self, items: Sequence[Item], recalls: Sequence[RecallItem]
    ) -> list[AppError | None]:
        group_ids = {item.message.group_id for item in items}
        group_ids.update(item.group_id for item in recalls if item.group_id is not None)
        if not group_ids:
            return []
        asked = BatchGetSendInfoRequest(group_ids=sorted(group_ids))
        answer = await self._groups.BatchGetSendInfo(asked)
        groups = {group.group_id: group for group in answer.groups}
        for recall in recalls:
            recall.group = groups.get(recall.group_id or 0)
        for item in items:
            group = groups.get(item.message.group_id)
            item.group_members = group.member_ids if group is not None else ()
        return [
            _refusal(
                groups.get(item.message.group_id), item.message.sender_id, item.message.group_id
            )
            for item in items
        ]


def _drop_strangers(item: Item) -> None:
    known = [user_id for user_id in item.message.mentions if user_id in item.members]
    item.message.ClearField("mentions")
    item.message.mentions.extend(known)


def _refusal(group: GroupSendInfo | None, sender_id: int, group_id: int) -> AppError | None:
    if group is None:
        return not_found(f"group {group_id}")
    if sender_id not in group.member_ids:
        return AppError(Code.NOT_GROUP_MEMBER, "only members may write to a group")
    silenced = group.muted and sender_id not in group.manager_ids
    if silenced or sender_id in group.muted_member_ids:
        return AppError(Code.MUTED, "you may not write to this group now")
    return None
