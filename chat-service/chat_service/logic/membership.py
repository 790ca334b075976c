"""Who belongs to a conversation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from chat_service.model.members import MemberKey, Position
from chat_service.svc import ServiceContext
from im.group.v1.group_pb2 import BatchGetSendInfoRequest, GroupSenders
from im_common.domain.ids import parse_conversation
from im_common.errors import AppError, Code, invalid, not_found


def parse(conversation_id: str) -> tuple[int, int] | int:
    """The two users or the group. Raises INVALID_ARGUMENT."""
    members = parse_conversation(conversation_id)
    if members is None:
        raise invalid(
            "conversation_id", "must be s:{lower user id}:{higher user id} or g:{group_id}"
        )
    return members


async def check(
    svc: ServiceContext, user_id: int, conversation_id: str, position: Position | None
) -> None:
    """PERMISSION_DENIED, NOT_GROUP_MEMBER, NOT_FOUND or INVALID_ARGUMENT for who does not belong to
    it; ``position`` is the user's row, if there is one."""
    key = (user_id, conversation_id)
    found = await refusals(svc, [key], {} if position is None else {key: position})
    if found:
        raise found[key]


async def refusals(
    svc: ServiceContext, keys: Iterable[MemberKey], rows: Mapping[MemberKey, Position]
) -> dict[MemberKey, AppError]:
    """Why users have no business in conversations; those who have are not in the result.

    A row says that somebody is a member. Without one (who joined a moment ago), or when it says
    that the member left, group-service is asked, once for all.
    """
    refused: dict[MemberKey, AppError] = {}
    doubtful: dict[MemberKey, int] = {}
    for key in keys:
        try:
            members = parse(key[1])
        except AppError as error:
            refused[key] = error
            continue
        if isinstance(members, int):
            if key not in rows or rows[key].left_seq is not None:
                doubtful[key] = members
        elif key[0] not in members:
            refused[key] = AppError(
                Code.PERMISSION_DENIED, "only its two users may see a conversation"
            )
    if doubtful:
        refused |= await _ask(svc, doubtful)
    return refused


async def _ask(svc: ServiceContext, doubtful: Mapping[MemberKey, int]) -> dict[MemberKey, AppError]:
    users: dict[int, set[int]] = defaultdict(set)
    for key, group_id in doubtful.items():
        users[group_id].add(key[0])
    asked = [GroupSenders(group_id=g, user_ids=of_one) for g, of_one in users.items()]
    answer = await svc.groups.BatchGetSendInfo(BatchGetSendInfoRequest(groups=asked))
    groups = {group.group_id: group.member_ids for group in answer.groups}
    refused: dict[MemberKey, AppError] = {}
    for key, group_id in doubtful.items():
        if group_id not in groups:
            refused[key] = not_found(f"group {group_id}")
        elif key[0] not in groups[group_id]:
            refused[key] = AppError(Code.NOT_GROUP_MEMBER, "only members may see a group")
    return refused
