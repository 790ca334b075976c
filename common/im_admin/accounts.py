"""Users and their sessions."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message

from im.auth.v1 import admin_pb2 as pb
from im.auth.v1.auth_pb2 import DisableAccountRequest
from im_admin.operator import Operator
from im_admin.plain import Row, pages, row
from im_common.domain.ids import now_ms, read_id
from im_common.domain.offline import OfflineList
from im_common.domain.routes import RouteTable
from im_common.errors import AppError, Code


async def find_users(
    operator: Operator, text: str = "", *, only_disabled: bool = False, most: int = 50
) -> list[Row]:
    """Those whose username begins with ``text``, whose email or id it is; all when it is empty."""
    service = await operator.accounts()

    async def ask(limit: int, cursor: str) -> tuple[Sequence[Message], str]:
        request = pb.FindAccountsRequest(
            text=text, only_disabled=only_disabled, limit=limit, cursor=cursor
        )
        answer = await service.FindAccounts(request)
        return answer.accounts, answer.next_cursor

    found = await pages(ask, most)
    by_id = await _by_id(operator, text)
    if by_id is None or by_id in found or (only_disabled and not by_id["disabled"]):
        return found
    return [by_id, *found][:most]


async def get_user(operator: Operator, user: str) -> Row:
    """One account, by its id or its username. NOT_FOUND."""
    # A username may look like an id. Who names an id means it.
    found = await _by_id(operator, user)
    if found is not None:
        return found
    service = await operator.accounts()
    request = pb.FindAccountsRequest(text=user, limit=1)
    # The username itself is the first of those that begin so, but for an email that is the same.
    for account in (await service.FindAccounts(request)).accounts if user else ():
        if account.username.lower() == user.lower():
            return row(account)
    raise AppError(Code.NOT_FOUND, f"USER {user}: there is no such user", field="USER")


async def show_user(operator: Operator, user: str) -> Row:
    """An account with what hangs on it at the moment."""
    account = await get_user(operator, user)
    user_id: int = account["user_id"]
    redis = operator.resources.redis()
    routes = await RouteTable(redis).find([user_id])
    return account | {
        "offline_frames": await OfflineList(redis).length(user_id),
        "connections": [
            {
                "gateway": route.gateway,
                "connection_id": route.connection_id,
                "platform": route.platform,
                "device_id": route.device_id,
            }
            for route in routes.get(user_id, ())
        ],
        "sessions": await _sessions_of(operator, user_id),
    }


async def set_disabled(operator: Operator, user: str, *, disabled: bool) -> Row:
    """Shuts an account: its sessions end, nobody finds the user; or opens it again. Can be repeated."""
    account = await get_user(operator, user)
    action = "users disable" if disabled else "users enable"
    async with operator.deed(action, _target(account)):
        request = DisableAccountRequest(user_id=account["user_id"], disabled=disabled)
        await (await operator.auth()).DisableAccount(request)
    return account | {"disabled": disabled}


async def set_admin(operator: Operator, user: str, *, admin: bool) -> Row:
    """Gives an account the role that the operators' page asks for, or takes it. Can be repeated."""
    account = await get_user(operator, user)
    async with operator.deed("users promote" if admin else "users demote", _target(account)):
        request = pb.SetAdminRequest(user_id=account["user_id"], admin=admin)
        await (await operator.accounts()).SetAdmin(request)
    return account | {"admin": admin}


async def delete_user(operator: Operator, user: str) -> Row:
    """Ends an account for good: its sessions at once; profile, friendships, memberships soon after."""
    account = await get_user(operator, user)
    async with operator.deed("users delete", _target(account)):
        request = pb.RemoveAccountRequest(user_id=account["user_id"])
        await (await operator.accounts()).RemoveAccount(request)
    return account | {"deleted": True}


async def list_sessions(operator: Operator, user: str) -> list[Row]:
    """Newest first."""
    account = await get_user(operator, user)
    return await _sessions_of(operator, account["user_id"])


async def end_sessions(operator: Operator, user: str, session_id: str = "") -> Row:
    """Ends one session of a user, or all; their connections close within seconds."""
    account = await get_user(operator, user)
    async with operator.deed("sessions end", f"{_target(account)} {session_id}".rstrip()):
        request = pb.EndUserSessionsRequest(user_id=account["user_id"], session_id=session_id)
        ended = (await (await operator.accounts()).EndUserSessions(request)).ended
    return {"user_id": account["user_id"], "ended": ended, "at": now_ms()}


async def _by_id(operator: Operator, text: str) -> Row | None:
    user_id = read_id(text)
    if user_id is None:
        return None
    request = pb.FindAccountsRequest(user_id=user_id, limit=1)
    found = (await (await operator.accounts()).FindAccounts(request)).accounts
    return row(found[0]) if found else None


async def _sessions_of(operator: Operator, user_id: int) -> list[Row]:
    request = pb.ListUserSessionsRequest(user_id=user_id)
    answer = await (await operator.accounts()).ListUserSessions(request)
    return [row(session, without=["current"]) for session in answer.sessions]


def _target(account: Row) -> str:
    return f"user {account['user_id']}"
