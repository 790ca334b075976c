"""What an operator does from the command line."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import AsyncExitStack

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from im.auth.v1.auth_pb2 import DisableAccountRequest
from im.auth.v1.auth_pb2_grpc import AuthServiceStub
from im_common.domain.ids import now_ms
from im_common.errors import AppError, not_found
from im_common.runtime import log as logs
from im_common.runtime.config import LogConf
from im_common.runtime.dev_server import DevServer
from im_common.runtime.resources import Resources
from user_service.config import Settings
from user_service.model import users


def run_command(settings: Settings, user: str, *, disabled: bool) -> int:
    """`users disable | enable`; returns the exit code. Can be repeated when a part was away."""
    logs.configure(settings.name, LogConf(level="error", encoding="plain"))
    try:
        user_id = asyncio.run(disable(settings, user, disabled=disabled))
    except AppError as error:
        print(f"user-service: {error.message}", file=sys.stderr)  # noqa: T201
        return 1
    except (SQLAlchemyError, OSError) as error:
        print(f"user-service: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"user {user_id} is {'disabled' if disabled else 'enabled'}")  # noqa: T201
    return 0


async def disable(settings: Settings, user: str, *, disabled: bool) -> int:
    """Shuts the account of a user (id or username) or opens it again; the user's id.

    Raises:
        AppError: NOT_FOUND; UNAVAILABLE when auth-service does not answer.
    """
    async with AsyncExitStack() as stack:
        dev_server = DevServer(settings.dev_server, settings.name)
        resources = Resources(settings, dev_server, stack)
        db = resources.database(settings.db)
        auth = AuthServiceStub(await resources.channel(settings.auth_rpc))
        user_id = await db.read(_find, user)
        # First the sessions: a command that stops halfway has shut the door.
        await auth.DisableAccount(DisableAccountRequest(user_id=user_id, disabled=disabled))
        await db.write(users.set_disabled, user_id, disabled, now_ms())
    return user_id


def _find(connection: Connection, user: str) -> int:
    # A username may look like an id. An operator who names an id means it.
    if re.fullmatch(r"[1-9][0-9]{0,17}", user) and users.exists(connection, int(user)):
        return int(user)
    found = users.id_of_username(connection, user)
    if found is None:
        raise not_found("user")
    return found
