"""`Idempotency-Key` on routes that make something."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any, cast

import msgspec
from fastapi import Depends, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from api_gateway.errors import SPELLINGS, problem
from api_gateway.kept_answers import Answer, Asked, Attempt
from api_gateway.svc import ServiceContext
from im_common.errors import AppError, invalid
from im_common.rpc.access import bearer_token, may_be_token

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,62}[\x21-\x7e])?")
# Statuses that say that nothing was done and the same request may do something later.
_NOTHING_DONE = {400, 401, 413, 415, 422, 429}


async def _described(
    _key: Annotated[
        str | None,
        Header(
            alias=HEADER,
            min_length=1,
            max_length=64,
            description="The caller's own name for this request. For a day the same request under the "
            "same name gets the same answer and has no second effect; another one gets 409.",
        ),
    ] = None,
) -> None:
    """Only for the description: KeyedRoute has read it by then."""


# Put on a route that makes something.
keyed = Depends(_described)


async def _attempt(request: Request) -> Attempt | None:
    return cast("Attempt | None", getattr(request.state, "attempt", None))


# What a route is told of the key; None when there is none.
Keyed = Annotated[Attempt | None, Depends(_attempt)]


class KeyedRoute(APIRoute):
    """The class of all routes: those with ``keyed`` among their dependencies heed the key."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if keyed not in self.dependencies:
            return handle
        route = self.path_format

        async def answer_once(request: Request) -> Response:
            key = key_of(request)
            if key is None:
                return await handle(request)
            body = _plain(await request.body())
            return await once(request, key, route, body, partial(handle, request))

        return answer_once


def key_of(request: Request) -> str | None:
    """Raises INVALID_ARGUMENT."""
    key = request.headers.get(HEADER)
    if key is not None and not _KEY.fullmatch(key):
        raise invalid(HEADER, "must have 1 to 64 plain characters")
    return key


async def once(
    request: Request,
    key: str,
    route: str,
    body: bytes,
    handle: Callable[[], Coroutine[Any, Any, Response]],
) -> Response:
    """What ``handle`` answers, or has answered to the same request before; ``body`` stands for what
    was sent. Raises what ``KeptAnswers.begin`` does."""
    svc = cast("ServiceContext", request.app.state.svc)
    who = await _who(svc, request)
    body = request.url.path.encode() + b"\0" + body
    asked = Asked(who=who, route=route, key=key, body=body)
    found = await svc.kept.begin(asked)
    if isinstance(found, Answer):
        headers = {"Idempotency-Replayed": "true"}
        return Response(found.body, found.status, headers, media_type=found.media_type or None)
    request.state.attempt = found
    try:
        response = await handle()
    except RequestValidationError:
        await svc.kept.forget(found)
        raise
    except AppError as error:
        response = problem(error.respelled(SPELLINGS))
    except Exception:
        await svc.kept.leave_open(found)
        raise
    await _settle(svc, found, response)
    return response


async def _who(svc: ServiceContext, request: Request) -> str:
    """The caller, by a token that is good now: a kept answer is for nobody else. Empty on routes that
    need none; there the body, with its password, tells who asks."""
    token = bearer_token(request.headers.get("authorization", ""))
    is_public = request.scope["route"].path_format.startswith("/v1/auth/")
    if is_public or not may_be_token(token):
        # The route itself refuses a request without a token that it needs.
        return ""
    return str((await svc.tokens.verify(token)).user_id)


def _plain(body: bytes) -> bytes:
    """The same for the same JSON, however it is spelled."""
    try:
        return msgspec.json.encode(msgspec.json.decode(body), order="deterministic")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return body


async def _settle(svc: ServiceContext, attempt: Attempt, response: Response) -> None:
    status = response.status_code
    if status in _NOTHING_DONE:
        await svc.kept.forget(attempt)
    elif status >= 500:
        await svc.kept.leave_open(attempt)
    else:
        media_type = response.headers.get("content-type", "")
        await svc.kept.keep(attempt, Answer(status, media_type, bytes(response.body)))
