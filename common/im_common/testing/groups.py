"""What group-service says to who sends, for tests of other services."""

from __future__ import annotations

from collections.abc import Mapping

from im.group.v1.group_pb2 import (
    BatchGetSendInfoRequest,
    BatchGetSendInfoResponse,
    GroupSendInfo,
)


def send_info(
    request: BatchGetSendInfoRequest, groups: Mapping[int, GroupSendInfo]
) -> BatchGetSendInfoResponse:
    """The answer, of ``groups`` with all that there is to say of each."""
    return BatchGetSendInfoResponse(
        groups=[
            _of_users(groups[asked.group_id], set(asked.user_ids))
            for asked in request.groups
            if asked.group_id in groups
        ]
    )


def _of_users(group: GroupSendInfo, user_ids: set[int]) -> GroupSendInfo:
    return GroupSendInfo(
        group_id=group.group_id,
        member_ids=user_ids.intersection(group.member_ids),
        manager_ids=user_ids.intersection(group.manager_ids),
        muted=group.muted,
        muted_member_ids=user_ids.intersection(group.muted_member_ids),
        member_count=len(group.member_ids),
    )
