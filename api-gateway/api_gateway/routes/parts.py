"""What routes ask of a request: the services, who calls, ids, pages."""

from __future__ import annotations

from typing import Annotated, cast

import jwt
from fastapi import Depends, Path, Query, Request
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api_gateway.svc import ServiceContext
from im_common.domain.ids import MAX_ID
from im_common.domain.paging import DEFAULT_LIMIT, MAX_LIMIT
from im_common.errors import unauthenticated
from im_common.rpc.access import bearer_token
from im_common.runtime import context

# gRPC refuses metadata of more than 8 KiB in all.
MAX_TOKEN = 4096


async def _service_context(request: Request) -> ServiceContext:
    return cast("ServiceContext", request.app.state.svc)


Svc = Annotated[ServiceContext, Depends(_service_context)]


class _Bearer(HTTPBearer):
    """Takes the access token along; the service that is called verifies it."""

    async def __call__(self, request: HTTPConnection) -> HTTPAuthorizationCredentials:
        token = bearer_token(request.headers.get("authorization", ""))
        if not token:
            raise unauthenticated("an access token is needed")
        if not token.isascii() or not token.isprintable() or len(token) > MAX_TOKEN:
            raise unauthenticated("the access token is not valid")
        current = context.current.get()
        if current is not None:
            current.user_token = token
        return HTTPAuthorizationCredentials(scheme="Bearer", credentials=token)


# Put on a router or a route that acts for a user.
signed_in = Depends(
    _Bearer(bearerFormat="JWT", scheme_name="bearer", description="The access token of a login.")
)


def claimed_user() -> tuple[int, str]:
    """The user whom the caller's access token names (0 for none) and the token, not verified."""
    current = context.current.get()
    token = (current.user_token if current else None) or ""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return int(claims["sub"]), token
    except (jwt.PyJWTError, KeyError, ValueError):
        return 0, token


UserIdPath = Annotated[int, Path(ge=1, le=MAX_ID)]
GroupIdPath = Annotated[int, Path(ge=1, le=MAX_ID)]
RequestIdPath = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
ConversationIdPath = Annotated[
    str, Path(max_length=64, description="`s:{lower user id}:{higher}` or `g:{group_id}`")
]

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items on a page.")]
Cursor = Annotated[
    str, Query(max_length=512, description="The `next_cursor` of the page before this one.")
]

__all__ = [
    "DEFAULT_LIMIT",
    "ConversationIdPath",
    "Cursor",
    "GroupIdPath",
    "Limit",
    "RequestIdPath",
    "Svc",
    "UserIdPath",
    "claimed_user",
    "signed_in",
]
