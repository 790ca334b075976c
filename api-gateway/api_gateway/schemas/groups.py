"""Groups and their members."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api_gateway.schemas.base import Absent, Body, Id, Millis, Seq, Text, View
from im.group.v1 import group_pb2 as pb

JoinPolicy = Literal["open", "approval", "invite_only"]
Role = Literal["member", "admin", "owner"]

JOIN_POLICIES: dict[JoinPolicy, pb.JoinPolicy.ValueType] = {
    "open": pb.JOIN_POLICY_OPEN,
    "approval": pb.JOIN_POLICY_APPROVAL,
    "invite_only": pb.JOIN_POLICY_INVITE_ONLY,
}
_JOIN_POLICY_NAMES: dict[int, JoinPolicy] = {value: key for key, value in JOIN_POLICIES.items()}
ROLES: dict[Role, pb.Role.ValueType] = {
    "member": pb.ROLE_MEMBER,
    "admin": pb.ROLE_ADMIN,
    "owner": pb.ROLE_OWNER,
}
_ROLE_NAMES: dict[int, Role] = {value: key for key, value in ROLES.items()}

MutedUntil = Annotated[Seq, Field(description="Unix milliseconds; 0 when not muted.")]


class GroupBody(Body):
    name: Text = Field(description="1 to 64 characters.")
    member_ids: list[Id] = Field([], description="Besides the caller.")
    join_policy: JoinPolicy | None = Field(None, description="approval when missing.")


class GroupChangeBody(Body):
    """What is named changes; the rest stays."""

    name: Text = ""
    avatar: Text = ""
    description: Text = ""
    announcement: Text = ""
    join_policy: JoinPolicy = "approval"

    def group(self, group_id: int) -> pb.Group:
        return pb.Group(
            group_id=group_id,
            name=self.name,
            avatar=self.avatar,
            description=self.description,
            announcement=self.announcement,
            join_policy=JOIN_POLICIES[self.join_policy],
        )


class InviteBody(Body):
    user_ids: list[Id] = Field(min_length=1)


class MemberChangeBody(Body):
    role: Literal["member", "admin"] | None = None
    muted_until: MutedUntil | None = None
    nickname: Text | None = Field(
        None, description="The caller's own name in the group, at most 64 characters."
    )


class JoinBody(Body):
    message: Text | None = None


class TransferBody(Body):
    user_id: Id


class MuteBody(Body):
    muted: bool


class Group(View):
    group_id: int
    name: str
    avatar: str
    description: str
    announcement: str
    owner_id: int
    join_policy: JoinPolicy
    muted: bool
    member_count: int
    created_at: Millis

    @classmethod
    def of(cls, group: pb.Group) -> Group:
        return cls(
            group_id=group.group_id,
            name=group.name,
            avatar=group.avatar,
            description=group.description,
            announcement=group.announcement,
            owner_id=group.owner_id,
            join_policy=_JOIN_POLICY_NAMES.get(group.join_policy, "approval"),
            muted=group.muted,
            member_count=group.member_count,
            created_at=group.created_at,
        )


class Member(View):
    user_id: int
    username: str
    nickname: str
    avatar: str
    group_nickname: str = Field(description="The member's own name in the group.")
    role: Role
    muted_until: MutedUntil
    joined_at: Millis

    @classmethod
    def of(cls, member: pb.Member) -> Member:
        return cls(
            user_id=member.user_id,
            username=member.username,
            nickname=member.nickname,
            avatar=member.avatar,
            group_nickname=member.group_nickname,
            role=_ROLE_NAMES.get(member.role, "member"),
            muted_until=member.muted_until,
            joined_at=member.joined_at,
        )


class Reader(View):
    user_id: int
    username: str
    nickname: str
    avatar: str
    group_nickname: str = Field(description="The member's own name in the group.")

    @classmethod
    def of(cls, reader: pb.Reader) -> Reader:
        return cls(
            user_id=reader.user_id,
            username=reader.username,
            nickname=reader.nickname,
            avatar=reader.avatar,
            group_nickname=reader.group_nickname,
        )


class Added(View):
    added: list[int] = Field(description="Those who were no members before.")


class Joined(View):
    joined: bool = Field(description="False when the request waits for approval.")
    request_id: Absent[int] = None


class JoinRequest(View):
    request_id: int
    group_id: int
    user_id: int
    username: str
    nickname: str
    avatar: str
    message: str
    created_at: Millis

    @classmethod
    def of(cls, request: pb.JoinRequest) -> JoinRequest:
        return cls(
            request_id=request.request_id,
            group_id=request.group_id,
            user_id=request.user_id,
            username=request.username,
            nickname=request.nickname,
            avatar=request.avatar,
            message=request.message,
            created_at=request.created_at,
        )
