"""Which role may do what to whom: the one table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum

from group_service.model.tables import Role
from im_common.errors import AppError, Code

# What an action is done to: a member of this role, or the group itself.
Target = Role | None
_GROUP: Collection[Target] = (None,)
_NOBODY: Collection[Target] = ()


class Action(Enum):
    """The values say it in an error."""

    INVITE_TO_OPEN = "invite"
    INVITE = "invite to this group"
    UPDATE = "change the group"
    HANDLE_REQUESTS = "see and decide requests to join"
    MUTE_GROUP = "mute the group"
    DISMISS = "dismiss the group"
    LEAVE = "leave the group"
    REMOVE = "remove this member"
    MUTE_MEMBER = "mute this member"
    SET_ROLE = "set this member's role"
    TRANSFER = "hand the group over"


# Who is not named may not.
RIGHTS: Mapping[Action, Mapping[Role, Collection[Target]]] = {
    Action.INVITE_TO_OPEN: {Role.OWNER: _GROUP, Role.ADMIN: _GROUP, Role.MEMBER: _GROUP},
    Action.INVITE: {Role.OWNER: _GROUP, Role.ADMIN: _GROUP},
    Action.UPDATE: {Role.OWNER: _GROUP, Role.ADMIN: _GROUP},
    Action.HANDLE_REQUESTS: {Role.OWNER: _GROUP, Role.ADMIN: _GROUP},
    Action.MUTE_GROUP: {Role.OWNER: _GROUP, Role.ADMIN: _GROUP},
    Action.DISMISS: {Role.OWNER: _GROUP},
    # The owner hands the group over first.
    Action.LEAVE: {Role.ADMIN: _GROUP, Role.MEMBER: _GROUP},
    Action.REMOVE: {Role.OWNER: (Role.ADMIN, Role.MEMBER), Role.ADMIN: (Role.MEMBER,)},
    Action.MUTE_MEMBER: {Role.OWNER: (Role.ADMIN, Role.MEMBER), Role.ADMIN: (Role.MEMBER,)},
    Action.SET_ROLE: {Role.OWNER: (Role.ADMIN, Role.MEMBER)},
    Action.TRANSFER: {Role.OWNER: (Role.ADMIN, Role.MEMBER)},
}


def check(action: Action, role: Role, target: Target = None) -> None:
    """PERMISSION_DENIED when a member of that role may not do it to the target."""
    if target not in RIGHTS[action].get(role, _NOBODY):
        who = "admins" if role is Role.ADMIN else f"{role.name.lower()}s"
        raise AppError(Code.PERMISSION_DENIED, f"{who} may not {action.value}")
