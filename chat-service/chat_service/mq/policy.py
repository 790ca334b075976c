"""Who may speak to whom, asked of the services that own the answer, at most once for a batch.

A service that does not answer makes the batch wait: nothing is let through unasked, nothing dropped.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cachetools import TTLCache

from chat_service.mq.blocks import Blocks
from chat_service.mq.entry import Entry, Pair
from im.group.v1.group_pb2 import BatchGetSendInfoRequest, GroupSenders, GroupSendInfo
from im.user.v1.user_pb2 import CheckUsersRequest
from im_common.errors import AppError, Code, not_found

if TYPE_CHECKING:
    from im.group.v1.group_pb2_grpc import GroupServiceAsyncStub
    from im.user.v1.user_pb2_grpc import UserServiceAsyncStub

# Accounts are never deleted, so that somebody exists may be remembered for a while.
KNOWN_USER_S = 60.0
MOST_KNOWN_USERS = 100_000
_BARRED = {
    Code.BLOCKED: "the receiver does not take your messages",
    Code.NOT_FRIENDS: "only friends may write to each other",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the owners say of the users and groups of one batch."""

    unknown_users: Collection[int] = ()
    # Whose sender may not write to the receiver: BLOCKED, NOT_FRIENDS.
    barred: Mapping[Pair, Code] = field(default_factory=dict)
    # Those that exist.
    groups: Mapping[int, GroupSendInfo] = field(default_factory=dict)

    def members(self, group_id: int) -> Sequence[int]:
        """Of those who were asked about; nobody when there is no such group."""
        group = self.groups.get(group_id)
        return group.member_ids if group is not None else ()

    def refusal(self, pair: Pair | None, group_id: int | None, sender_id: int) -> AppError | None:
        """Why the sender may not write to the other one of the pair, or else to the group."""
        if pair is None:
            return _refusal(self.groups.get(group_id or 0), sender_id, group_id or 0)
        if pair[1] in self.unknown_users:
            return not_found(f"user {pair[1]}")
        if (code := self.barred.get(pair)) is not None:
            return AppError(code, _BARRED[code])
        return None

    def refusal_of_all(self, group_id: int, sender_id: int) -> AppError | None:
        """Why the sender may not mention all members of the group."""
        group = self.groups.get(group_id)
        if group is not None and sender_id in group.manager_ids:
            return None
        return AppError(
            Code.PERMISSION_DENIED, "only owner and admins may mention all", field="mentions"
        )


class Policy:
    def __init__(
        self,
        users: UserServiceAsyncStub,
        blocks: Blocks,
        groups: GroupServiceAsyncStub,
    ) -> None:
        self._users = users
        self._blocks = blocks
        self._groups = groups
        self._known_users: TTLCache[int, bool] = TTLCache(MOST_KNOWN_USERS, KNOWN_USER_S)

    async def learn(self, entries: Iterable[Entry]) -> Facts:
        """What decides on these. Raises AppError UNAVAILABLE when an owner of the answer is away."""
        pairs, groups = set[Pair](), defaultdict[int, set[int]](set)
        for entry in entries:
            if (pair := entry.pair) is not None:
                pairs.add(pair)
            if (group_id := entry.group_id) is not None:
                groups[group_id].update(entry.asked_user_ids)
        # Mostly all users are known already.
        unknown = await self._unknown_users({receiver for _, receiver in pairs})
        if pairs and groups:
            both = asyncio.gather(self._blocks.among(pairs), self._found_groups(groups))
            return Facts(unknown, *(await both))
        # Without tasks of their own.
        barred = await self._blocks.among(pairs) if pairs else {}
        return Facts(unknown, barred, await self._found_groups(groups))

    async def _unknown_users(self, user_ids: Iterable[int]) -> set[int]:
        doubtful = [user for user in user_ids if user not in self._known_users]
        if not doubtful:
            return set()
        answer = await self._users.CheckUsers(CheckUsersRequest(user_ids=doubtful))
        self._known_users.update(dict.fromkeys(answer.user_ids, True))
        return set(doubtful).difference(answer.user_ids)

    async def _found_groups(
        self, groups: Mapping[int, Collection[int]]
    ) -> dict[int, GroupSendInfo]:
        """By group, what is to be said of these users."""
        if not groups:
            return {}
        asked = [GroupSenders(group_id=g, user_ids=users) for g, users in groups.items()]
        answer = await self._groups.BatchGetSendInfo(BatchGetSendInfoRequest(groups=asked))
        return {group.group_id: group for group in answer.groups}


def _refusal(group: GroupSendInfo | None, sender_id: int, group_id: int) -> AppError | None:
    if group is None:
        return not_found(f"group {group_id}")
    if sender_id not in group.member_ids:
        return AppError(Code.NOT_GROUP_MEMBER, "only members may write to a group")
    silenced = group.muted and sender_id not in group.manager_ids
    if silenced or sender_id in group.muted_member_ids:
        return AppError(Code.MUTED, "you may not write to this group now")
    return None
