"""What each operation may refuse, by its id: the codes that its description names.

What every route may answer besides is in ``codes_of``. Held against what the services really say by the
tests that send generated requests to the whole system.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from im_common.errors import TABLE, Code

MEANINGS: dict[Code, str] = {
    Code.INVALID_ARGUMENT: "A field is missing or wrong; `field` names it.",
    Code.UNAUTHENTICATED: "There is no token, or not one of ours.",
    Code.TOKEN_EXPIRED: "The access token is too old: exchange the refresh token.",
    Code.SESSION_REVOKED: "The session has ended: log in.",
    Code.INVALID_CREDENTIALS: "The username or the password is wrong.",
    Code.ACCOUNT_LOCKED: "Too many wrong passwords: wait.",
    Code.PERMISSION_DENIED: "The caller may not do this.",
    Code.BLOCKED: "The other one has blocked the caller.",
    Code.NOT_FRIENDS: "The two are no friends.",
    Code.NOT_GROUP_MEMBER: "The caller is no member of the group.",
    Code.MUTED: "The caller may not write in the group now.",
    Code.GROUP_FULL: "The group has no room.",
    Code.NOT_FOUND: "There is none, or none for the caller.",
    Code.ALREADY_EXISTS: "It is there already, or taken.",
    Code.FAILED_PRECONDITION: "Not as things are now.",
    Code.RECALL_WINDOW_PASSED: "It is too late to recall the message.",
    Code.RATE_LIMITED: "Too many: wait, as `Retry-After` says.",
    Code.PAYLOAD_TOO_LARGE: "The body or the content is too long.",
    Code.UNAVAILABLE: "A service that is needed is away: try again, as `Retry-After` says.",
    Code.DEADLINE_EXCEEDED: "It took too long; it may have been done. Try again.",
    Code.INTERNAL: "A fault of the server.",
}

_SIGNED_IN = (Code.UNAUTHENTICATED, Code.TOKEN_EXPIRED, Code.SESSION_REVOKED)
_ALWAYS = (
    Code.INVALID_ARGUMENT,
    Code.RATE_LIMITED,
    Code.UNAVAILABLE,
    Code.DEADLINE_EXCEEDED,
    Code.INTERNAL,
)
_PASSWORD = (Code.INVALID_CREDENTIALS, Code.ACCOUNT_LOCKED)
_GROUP = (Code.NOT_FOUND, Code.NOT_GROUP_MEMBER)
_GROUP_RIGHT = (*_GROUP, Code.PERMISSION_DENIED)
_CONVERSATION = (Code.NOT_FOUND, Code.PERMISSION_DENIED, Code.NOT_GROUP_MEMBER)
_DECISION = (Code.NOT_FOUND, Code.PERMISSION_DENIED, Code.FAILED_PRECONDITION)

REFUSALS: dict[str, tuple[Code, ...]] = {
    "register": (Code.ALREADY_EXISTS, Code.ACCOUNT_LOCKED, Code.PERMISSION_DENIED),
    "login": (*_PASSWORD, Code.PERMISSION_DENIED),
    "refresh": (Code.UNAUTHENTICATED, Code.SESSION_REVOKED, Code.PERMISSION_DENIED),
    "change_password": _PASSWORD,
    "revoke_session": (Code.NOT_FOUND,),
    "get_me": (Code.NOT_FOUND,),
    "export_me": (Code.NOT_FOUND,),
    "update_me": (Code.NOT_FOUND,),
    "delete_me": _PASSWORD,
    "get_user": (Code.NOT_FOUND,),
    "send_friend_request": (
        Code.NOT_FOUND,
        Code.ALREADY_EXISTS,
        Code.BLOCKED,
        Code.FAILED_PRECONDITION,
    ),
    "accept_friend_request": _DECISION,
    "reject_friend_request": _DECISION,
    "cancel_friend_request": _DECISION,
    "delete_friend": (Code.NOT_FRIENDS,),
    "set_remark": (Code.NOT_FRIENDS,),
    "block_user": (Code.NOT_FOUND,),
    "create_group": (Code.NOT_FOUND, Code.BLOCKED, Code.GROUP_FULL),
    "get_group": _GROUP,
    "update_group": _GROUP_RIGHT,
    "dismiss_group": _GROUP_RIGHT,
    "join_group": (Code.NOT_FOUND, Code.PERMISSION_DENIED, Code.GROUP_FULL),
    "leave_group": (*_GROUP, Code.FAILED_PRECONDITION),
    "transfer_ownership": _GROUP_RIGHT,
    "mute_group": _GROUP_RIGHT,
    "list_join_requests": _GROUP_RIGHT,
    "accept_join_request": (*_GROUP_RIGHT, Code.FAILED_PRECONDITION, Code.GROUP_FULL),
    "reject_join_request": (*_GROUP_RIGHT, Code.FAILED_PRECONDITION),
    "list_readers": _GROUP_RIGHT,
    "list_members": _GROUP,
    "invite_members": (*_GROUP_RIGHT, Code.BLOCKED, Code.GROUP_FULL),
    "remove_member": _GROUP_RIGHT,
    "change_member": _GROUP_RIGHT,
    "send_message": (
        *_CONVERSATION,
        Code.BLOCKED,
        Code.NOT_FRIENDS,
        Code.MUTED,
        Code.ALREADY_EXISTS,
        Code.FAILED_PRECONDITION,
    ),
    "recall_message": (*_CONVERSATION, Code.RECALL_WINDOW_PASSED),
    "search_messages": _CONVERSATION,
    "get_history": _CONVERSATION,
    "mark_as_read": _CONVERSATION,
    "upload_file": (Code.NOT_FOUND,),
    "get_file": (Code.NOT_FOUND,),
    "get_thumbnail": (Code.NOT_FOUND,),
}


def codes_of(operation: dict[str, Any]) -> set[Code]:
    """All codes that an operation of the description may answer."""
    codes = {*_ALWAYS, *REFUSALS.get(operation["operationId"], ())}
    if operation.get("security"):
        codes.update(_SIGNED_IN)
    if "requestBody" in operation:
        codes.add(Code.PAYLOAD_TOO_LARGE)
    if any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", ())):
        codes.add(Code.FAILED_PRECONDITION)
    return codes


def by_status(codes: Iterable[Code]) -> dict[int, list[Code]]:
    """In the order of the table of codes."""
    found: dict[int, list[Code]] = {}
    wanted = set(codes)
    for code, traits in TABLE.items():
        if code in wanted:
            found.setdefault(traits.http, []).append(code)
    return dict(sorted(found.items()))
