"""Groups and their members."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message

from im.group.v1 import admin_pb2 as pb
from im.group.v1.group_pb2 import JoinPolicy, Role
from im_admin.accounts import get_user
from im_admin.operator import Operator
from im_admin.plain import Row, pages
from im_common.domain.ids import read_id
from im_common.errors import AppError, Code

_SHOWN = ("group_id", "name", "owner_id", "member_count", "muted", "join_policy", "created_at")


async def find_groups(
    operator: Operator, text: str = "", *, user: str = "", most: int = 50
) -> list[Row]:
    """Those with ``text`` in their name, or that ``user`` is a member of; newest first."""
    user_id = (await get_user(operator, user))["user_id"] if user else 0
    return [_few(group) for group in await _find(operator, text=text, user_id=user_id, most=most)]


async def show_group(operator: Operator, group: str, *, most: int = 50) -> Row:
    """A group with some of its members, in the order of their ids. NOT_FOUND."""
    found = await _get(operator, group)
    service = await operator.groups()

    async def ask(limit: int, cursor: str) -> tuple[Sequence[Message], str]:
        request = pb.ListGroupMembersRequest(group_id=found["group_id"], limit=limit, cursor=cursor)
        answer = await service.ListGroupMembers(request)
        return answer.members, answer.next_cursor

    members = await pages(ask, most)
    shown = found | {"join_policy": _word(JoinPolicy.Name(found["join_policy"]), "JOIN_POLICY_")}
    return shown | {
        "members": [
            {
                "user_id": member["user_id"],
                "role": _word(Role.Name(member["role"]), "ROLE_"),
                "muted_until": member["muted_until"],
                "joined_at": member["joined_at"],
                "group_nickname": member["group_nickname"],
            }
            for member in members
        ]
    }


async def dismiss_group(operator: Operator, group: str) -> Row:
    """Ends a group as its owner could: its members are told, its history stays."""
    found = await _get(operator, group)
    async with operator.deed("groups dismiss", f"group {found['group_id']}"):
        request = pb.EndGroupRequest(group_id=found["group_id"])
        await (await operator.groups()).EndGroup(request)
    return _few(found) | {"dismissed": True}


async def _get(operator: Operator, group: str) -> Row:
    group_id = read_id(group)
    if group_id is not None:
        for found in await _find(operator, group_id=group_id, most=1):
            return found
    raise AppError(Code.NOT_FOUND, f"GROUP {group}: there is no such group", field="GROUP")


async def _find(
    operator: Operator, *, most: int, group_id: int = 0, user_id: int = 0, text: str = ""
) -> list[Row]:
    service = await operator.groups()

    async def ask(limit: int, cursor: str) -> tuple[Sequence[Message], str]:
        request = pb.FindGroupsRequest(
            group_id=group_id, user_id=user_id, text=text, limit=limit, cursor=cursor
        )
        answer = await service.FindGroups(request)
        return answer.groups, answer.next_cursor

    return await pages(ask, most)


def _few(group: Row) -> Row:
    few = {name: group[name] for name in _SHOWN}
    return few | {"join_policy": _word(JoinPolicy.Name(group["join_policy"]), "JOIN_POLICY_")}


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
