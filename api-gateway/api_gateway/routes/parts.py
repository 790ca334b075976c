"""What routes ask of a request: the services, who calls, ids, pages."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.requests import HTTPConnection
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator, BeforeValidator

from api_gateway.svc import ServiceContext
from im_common.domain.ids import MAX_ID, parse_conversation
from im_common.domain.paging import DEFAULT_LIMIT, MAX_LIMIT
from im_common.errors import AppError, Code, invalid, unauthenticated
from im_common.rpc.access import bearer_token, may_be_token
from im_common.runtime import context
from im_common.runtime.faults import as_unavailable

# Named once for all routes; the description puts the reference in its place.
_ERRORS: dict[int | str, dict[str, Any]] = {"default": {"description": "Any error."}}
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,18})")


def area(prefix: str = "", **options: Any) -> APIRouter:
    """A router whose routes are complete as they are, so that the application has one list of all: a
    router within a router looks for the route of each request twice."""
    return APIRouter(
        prefix=prefix,
        responses=_ERRORS,
        generate_unique_id_function=_operation_id,
        # A body without Content-Type is taken as JSON; no cookies are there to be protected by more.
        strict_content_type=False,
        **options,
    )


def _operation_id(route: APIRoute) -> str:
    return route.name


async def _service_context(request: Request) -> ServiceContext:
    return cast("ServiceContext", request.app.state.svc)


Svc = Annotated[ServiceContext, Depends(_service_context)]


class _Bearer(HTTPBearer):
    """Takes the access token along; the service that is called verifies it."""

    async def __call__(self, request: HTTPConnection) -> HTTPAuthorizationCredentials:
        token = _token(request)
        current = context.current.get()
        if current is not None:
            current.user_token = token
        return HTTPAuthorizationCredentials(scheme="Bearer", credentials=token)


# Put on a router or a route that acts for a user.
signed_in = Depends(
    _Bearer(bearerFormat="JWT", scheme_name="bearer", description="The access token of a login.")
)


def _token(request: HTTPConnection) -> str:
    """Raises UNAUTHENTICATED for what no service could take."""
    token = bearer_token(request.headers.get("authorization", ""))
    if not token:
        raise unauthenticated("an access token is needed")
    if not may_be_token(token):
        raise unauthenticated("the access token is not valid")
    return token


async def unless_refused(request: Request, error: AppError) -> AppError:
    """What the answer is to say: that the caller's token is not good (any more), if that is so, before
    what else is wrong with the request."""
    is_needed = signed_in in getattr(request.scope.get("route"), "dependencies", ())
    if error.code is not Code.INVALID_ARGUMENT or not is_needed:
        return error
    svc = await _service_context(request)
    try:
        await svc.tokens.verify(_token(request))
    except AppError as refused:
        return refused if refused.traits.http == HTTPStatus.UNAUTHORIZED else error
    except Exception as fault:
        # Nobody can say: the request is as wrong as it was.
        if as_unavailable(fault) is None:
            raise
    return error


def _as_json(text: object) -> object:
    """A number has one spelling, as in JSON: `01044`, `+1044` and `1_044` are none."""
    if isinstance(text, str) and not _NUMBER.fullmatch(text):
        raise ValueError("must be a whole number")
    return text


Number = Annotated[int, BeforeValidator(_as_json)]
UserIdPath = Annotated[Number, Path(ge=1, le=MAX_ID)]
GroupIdPath = Annotated[Number, Path(ge=1, le=MAX_ID)]
RequestIdPath = Annotated[Number, Path(alias="id", ge=1, le=MAX_ID)]
SeqBound = Annotated[Number | None, Query(ge=0, le=MAX_ID, description="0 is the beginning.")]

SeqQuery = Annotated[Number, Query(ge=1, le=MAX_ID, description="Of a message.")]


def _conversation_id(text: str) -> str:
    if parse_conversation(text) is None:
        raise invalid(
            "conversation_id", "must be s:{lower user id}:{higher user id} or g:{group_id}"
        )
    return text


ConversationIdPath = Annotated[
    str,
    Path(max_length=64, description="`s:{lower user id}:{higher}` or `g:{group_id}`"),
    AfterValidator(_conversation_id),
]

Limit = Annotated[Number, Query(ge=1, le=MAX_LIMIT, description="Items on a page.")]
Cursor = Annotated[
    str, Query(max_length=512, description="The `next_cursor` of the page before this one.")
]

__all__ = [
    "DEFAULT_LIMIT",
    "ConversationIdPath",
    "Cursor",
    "GroupIdPath",
    "Limit",
    "Number",
    "RequestIdPath",
    "SeqBound",
    "SeqQuery",
    "Svc",
    "UserIdPath",
    "area",
    "signed_in",
    "unless_refused",
]
