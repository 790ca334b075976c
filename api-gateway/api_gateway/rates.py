"""How many requests a client may make: by the class of the route, by user and by address.

A request that comes with a token counts for its user, and every one for the address that it came from.
The token's signature is checked (nobody may use up what is another's), its session is not: that is for
the service that is called.

With Redis away nothing is counted and all are let through, but for those who log in or register, who
get UNAVAILABLE: nobody guesses passwords or makes accounts uncounted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from redis.exceptions import RedisError
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway.config import RateClass, RatesConf
from api_gateway.errors import problem
from im_common.domain.access_tokens import AccessTokens
from im_common.errors import AppError, Code
from im_common.rpc.access import bearer_token, may_be_token
from im_common.runtime import context, faults
from im_common.runtime.addresses import network
from im_common.runtime.shared_rate import Allowance, SharedBuckets, Taken

# Routes of their own class; of the others under /v1, those that only read are READ, the rest WRITE.
CLASSES: dict[tuple[str, str], RateClass] = {
    ("POST", "/v1/auth/register"): "registration",
    ("POST", "/v1/auth/login"): "login",
    ("POST", "/v1/auth/password"): "login",
    ("DELETE", "/v1/users/me"): "login",
    ("GET", "/v1/users"): "search",
    ("GET", "/v1/messages/search"): "search",
    ("GET", "/v1/users/me/export"): "search",
    ("POST", "/v1/files"): "upload",
    ("POST", "/v1/sync"): "read",
}
KINDS: tuple[RateClass, ...] = get_args(RateClass)
# Nobody is let through uncounted.
FAIL_CLOSED: set[RateClass] = {"registration", "login"}
# A Redis that does not answer is waited for so long, and not asked again for so long.
WAIT_S = 0.5
REST_S = 1.0

Bucket = tuple[str, Allowance]


@dataclass(frozen=True, slots=True)
class Counted:
    """A bucket of this request, under the name that its policy has in the headers."""

    policy: str
    allowed: Allowance
    taken: Taken


class RateLimiter:
    def __init__(self, conf: RatesConf, buckets: SharedBuckets, tokens: AccessTokens) -> None:
        self._by_user = {kind: conf.of(kind).by_user(conf.factor) for kind in KINDS}
        self._by_address = {kind: conf.of(kind).by_address(conf.factor) for kind in KINDS}
        self._buckets = buckets
        self._tokens = tokens
        # time.monotonic() seconds.
        self._rests_until = 0.0

    async def count(self, kind: RateClass, token: str, address: str) -> list[Counted]:
        """One request; empty when it cannot be counted and is let through.

        Raises:
            AppError: UNAVAILABLE (it cannot be counted, and must be).
        """
        policies = await self._policies(kind, token, address)
        if time.monotonic() >= self._rests_until:
            try:
                async with asyncio.timeout(WAIT_S):
                    taken = await self._buckets.take([bucket for _, bucket in policies])
                return [
                    Counted(policy, allowed, one)
                    for (policy, (_, allowed)), one in zip(policies, taken, strict=True)
                ]
            except (RedisError, TimeoutError) as error:
                self._rests_until = time.monotonic() + REST_S
                faults.report(error, "requests are not counted")
        if kind in FAIL_CLOSED:
            raise AppError(
                Code.UNAVAILABLE,
                "a part of the system is away, try again",
                retry_after_ms=int(REST_S * 1000),
            )
        return []

    async def _policies(
        self, kind: RateClass, token: str, address: str
    ) -> list[tuple[str, Bucket]]:
        bucket = f"{kind}:address:{network(address)}", self._by_address[kind]
        policies = [(f"{kind}-address", bucket)]
        user_id = await self._user(token)
        if user_id:
            bucket = f"{kind}:user:{user_id}", self._by_user[kind]
            policies.append((f"{kind}-user", bucket))
        return policies

    async def _user(self, token: str) -> int:
        """0 for who cannot be told: the service that is called will refuse them."""
        if not may_be_token(token):
            return 0
        try:
            return (await self._tokens.read(token)).user_id
        except AppError:
            return 0


class RateMiddleware:
    """Stands before the routes, within what gives a request its context."""

    def __init__(self, app: ASGIApp, limiter: RateLimiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = class_of(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if kind is None:
            await self._app(scope, receive, send)
            return
        token = bearer_token(Headers(scope=scope).get("authorization", ""))
        request = context.current.get()
        address = request.client_address if request else ""
        try:
            counted = await self._limiter.count(kind, token, address)
        except AppError as error:
            await problem(error)(scope, receive, send)
            return
        send = _telling(counted, send)
        refused = refusal_of(counted)
        if refused is not None:
            await problem(refused)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def class_of(method: str, path: str) -> RateClass | None:
    """None for what is not counted: pages, descriptions, public keys."""
    if not path.startswith("/v1/"):
        return None
    return CLASSES.get((method, path)) or ("read" if method in ("GET", "OPTIONS") else "write")


def refusal_of(counted: Sequence[Counted]) -> AppError | None:
    """RATE_LIMITED when it was one request too many."""
    wait_ms = max((one.taken.wait_ms for one in counted), default=0)
    said = "too many requests, try again later"
    return AppError(Code.RATE_LIMITED, said, retry_after_ms=wait_ms) if wait_ms else None


def _telling(counted: Sequence[Counted], send: Send) -> Send:
    """``send`` that says in the head of the answer what is left.

    Source: draft-ietf-httpapi-ratelimit-headers-11. A bucket is a quota of its burst in the time in
    which it fills; ``t`` is when it is full again.
    """
    if not counted:
        return send
    policies = ", ".join(
        f'"{one.policy}";q={one.allowed.burst};w={one.allowed.window_s}' for one in counted
    )
    left = ", ".join(
        f'"{one.policy}";r={one.taken.left};t={-(-one.taken.full_in_ms // 1000)}' for one in counted
    )

    async def telling(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["RateLimit-Policy"] = policies
            headers["RateLimit"] = left
        await send(message)

    return telling
