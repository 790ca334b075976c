"""Between the protos and what the logic speaks."""

from __future__ import annotations

from typing import Any

from group_service.model.groups import Group
from group_service.model.members import Member
from group_service.model.requests import JoinRequest
from group_service.model.tables import JoinPolicy, Role
from im.group.v1 import group_pb2 as pb
from im_common.domain.ids import now_ms
from im_common.domain.people import Person
from im_common.errors import invalid


def join_policy(value: pb.JoinPolicy.ValueType) -> JoinPolicy:
    """INVALID_ARGUMENT."""
    if value == pb.JOIN_POLICY_UNSPECIFIED:
        return JoinPolicy.APPROVAL
    try:
        return JoinPolicy(value)
    except ValueError:
        raise invalid("join_policy", "is not one that there is") from None


def role(value: pb.Role.ValueType) -> Role:
    """INVALID_ARGUMENT."""
    try:
        return Role(value)
    except ValueError:
        raise invalid("role", "must be member or admin") from None


def wanted(request: pb.UpdateGroupRequest) -> dict[str, Any]:
    """What the mask of an update can name. INVALID_ARGUMENT."""
    asked = request.group
    values: dict[str, Any] = {
        "name": asked.name,
        "avatar": asked.avatar,
        "description": asked.description,
        "announcement": asked.announcement,
    }
    if "join_policy" in request.update_mask.paths:
        values["join_policy"] = join_policy(asked.join_policy)
    return values


def group(found: Group) -> pb.Group:
    return pb.Group(
        group_id=found.group_id,
        name=found.name,
        avatar=found.avatar,
        announcement=found.announcement,
        owner_id=found.owner_id,
        join_policy=pb.JoinPolicy.ValueType(found.join_policy),
        muted=found.muted,
        member_count=found.member_count,
        created_at=found.created_at,
        description=found.description,
    )


def member(found: Member, person: Person) -> pb.Member:
    return pb.Member(
        user_id=found.user_id,
        role=pb.Role.ValueType(found.role),
        muted_until=found.muted_until if found.muted_until > now_ms() else 0,
        joined_at=found.joined_at,
        username=person.username,
        nickname=person.nickname,
        avatar=person.avatar,
        group_nickname=found.nickname,
    )


def reader(found: Member | None, person: Person) -> pb.Reader:
    return pb.Reader(
        user_id=person.user_id,
        username=person.username,
        nickname=person.nickname,
        avatar=person.avatar,
        group_nickname=found.nickname if found is not None else "",
    )


def join_request(found: JoinRequest, person: Person) -> pb.JoinRequest:
    return pb.JoinRequest(
        request_id=found.request_id,
        group_id=found.group_id,
        user_id=found.user_id,
        message=found.message,
        created_at=found.created_at,
        username=person.username,
        nickname=person.nickname,
        avatar=person.avatar,
    )
