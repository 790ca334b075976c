"""/v1/users/me/export: what is kept of a person, as lines of JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from api_gateway.routes.auth import list_sessions
from api_gateway.routes.conversations import get_history, list_conversations
from api_gateway.routes.friends import list_blocked_users, list_friend_requests, list_friends
from api_gateway.routes.groups import list_my_groups
from api_gateway.routes.parts import Svc, area, signed_in
from api_gateway.routes.users import get_me
from api_gateway.schemas.base import Page
from api_gateway.schemas.users import Me
from api_gateway.svc import ServiceContext
from im_common.domain.paging import MAX_LIMIT
from im_common.errors import AppError

T = TypeVar("T", bound=BaseModel)

MEDIA_TYPE = "application/x-ndjson"
_LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A line for each thing: `{kind, data}`, where `data` is what its own route "
        "shows. The kinds come in this order: profile, session, friend, friend_request, "
        "blocked_user, group, conversation (each followed by the caller's own messages in it, kind "
        "message), end. Without the end it is not all; a line of the kind error then says why.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
}

router = area("/v1/users", tags=["users"], dependencies=[signed_in])


@router.get(
    "/me/export",
    summary="What is kept of the caller, as lines of JSON",
    response_class=StreamingResponse,
    responses=_LINES,
)
async def export_me(svc: Svc) -> StreamingResponse:
    # Before the answer begins, so that who may not have it is told by its status.
    me = await get_me(svc)
    headers = {"Content-Disposition": 'attachment; filename="export.ndjson"'}
    return StreamingResponse(_lines(svc, me), headers=headers, media_type=MEDIA_TYPE)


async def _lines(svc: ServiceContext, me: Me) -> AsyncIterator[bytes]:
    """A page of each list at a time: what one costs in memory does not grow with all there is."""
    try:
        async for kind, item in _things(svc, me):
            data = item.model_dump(mode="json", by_alias=True)
            yield msgspec.json.encode({"kind": kind, "data": data}) + b"\n"
    except AppError as error:
        data = {"code": error.code.value, "detail": error.message}
        yield msgspec.json.encode({"kind": "error", "data": data}) + b"\n"
    else:
        yield msgspec.json.encode({"kind": "end", "data": {}}) + b"\n"


async def _things(svc: ServiceContext, me: Me) -> AsyncIterator[tuple[str, BaseModel]]:
    yield "profile", me
    async for session in _all(partial(list_sessions, svc)):
        yield "session", session
    async for friend in _all(partial(list_friends, svc)):
        yield "friend", friend
    for direction in ("in", "out"):
        asked = partial(list_friend_requests, svc, direction, "all")
        async for request in _all(asked):
            yield "friend_request", request
    async for blocked in _all(partial(list_blocked_users, svc)):
        yield "blocked_user", blocked
    async for group in _all(partial(list_my_groups, svc)):
        yield "group", group
    async for conversation in _all(partial(list_conversations, svc)):
        # The last message may be another one's.
        yield "conversation", conversation.model_copy(update={"last_message": None})
        history = partial(get_history, conversation.conversation_id, svc, after_seq=0)
        async for message in _all(history):
            if message.from_ == me.user_id:
                yield "message", message


async def _all(page_of: Callable[..., Awaitable[Page[T]]]) -> AsyncIterator[T]:
    cursor = ""
    while True:
        page = await page_of(limit=MAX_LIMIT, cursor=cursor)
        for item in page.items:
            yield item
        if page.next_cursor is None:
            return
        cursor = page.next_cursor
