"""How many requests a client may make, by class, user and address."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from im.auth.v1 import auth_pb2 as auth
from im.user.v1 import user_pb2 as user
from im_common.runtime.redis_client import open_redis
from im_common.testing.ports import free_port

# Fixtures' classes, of conftest.py, which tests do not import.
Gateway = Any
Start = Any

WIDE = {
    "user_per_second": 1000.0,
    "user_burst": 1000,
    "address_per_second": 1000.0,
    "address_burst": 1000,
}


def limits(**classes: dict[str, float]) -> dict[str, Any]:
    """Settings with limits on: wide ones, but for ``classes``."""
    kinds = ("registration", "login", "search", "upload", "write", "read")
    rates = {kind: WIDE | classes.get(kind, {}) for kind in kinds}
    return {"rate_limits": "on", "rates": rates}


@pytest.fixture(autouse=True)
async def _full_buckets(valkey: Any) -> None:
    redis = open_redis(valkey.conf)
    for key in await redis.keys("rate:*"):
        await redis.delete(key)
    await redis.aclose()


def answering(gateway: Gateway) -> None:
    gateway.services.answers["GetProfile"] = user.GetProfileResponse()
    gateway.services.answers["GetUser"] = user.GetUserResponse()
    gateway.services.answers["SearchUsers"] = user.SearchUsersResponse()
    gateway.services.answers["Login"] = auth.LoginResponse()
    gateway.services.answers["Register"] = auth.RegisterResponse()
    gateway.services.answers["RefreshToken"] = auth.RefreshTokenResponse()


LOGIN = {"username": "alice", "password": "a long password"}


async def login(gateway: Gateway, **headers: str) -> Any:
    return await gateway.anonymous("POST", "/v1/auth/login", json=LOGIN, headers=headers)


async def test_beyond_the_burst_of_an_address_one_is_told_when_to_come_again(start: Start) -> None:
    few = {"address_burst": 3, "address_per_second": 0.5}
    async with start(sections=limits(login=few)) as gateway:
        answering(gateway)
        answers = [await login(gateway) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        body = answers[-1].json()
        assert body["code"] == "RATE_LIMITED"
        assert 1_000 < body["retry_after_ms"] <= 2_000
        assert answers[-1].headers["retry-after"] == "2"
        assert len(gateway.services.calls) == 3
        # Another class is not touched.
        refresh = await gateway.anonymous("POST", "/v1/auth/refresh", json={"refresh_token": "x"})
        assert refresh.status_code == 200


async def test_a_bucket_fills_again(start: Start) -> None:
    few = {"address_burst": 1, "address_per_second": 0.5}
    async with start(sections=limits(login=few)) as gateway:
        answering(gateway)
        assert (await login(gateway)).status_code == 200
        refused = await login(gateway)
        assert refused.status_code == 429
        await asyncio.sleep(refused.json()["retry_after_ms"] / 1000)
        assert (await login(gateway)).status_code == 200


async def test_the_headers_say_what_is_left_of_each_quota(start: Start) -> None:
    few = {"user_burst": 10, "user_per_second": 2, "address_burst": 100, "address_per_second": 5}
    async with start(sections=limits(read=few)) as gateway:
        answering(gateway)
        first, second = [await gateway.request("GET", "/v1/users/me") for _ in range(2)]
        policy = '"read-address";q=100;w=20, "read-user";q=10;w=5'
        assert first.headers["ratelimit-policy"] == second.headers["ratelimit-policy"] == policy
        assert first.headers["ratelimit"] == '"read-address";r=99;t=1, "read-user";r=9;t=1'
        assert re.fullmatch(
            r'"read-address";r=9[89];t=1, "read-user";r=8;t=1', second.headers["ratelimit"]
        )


async def test_one_user_uses_up_nothing_of_anothers(
    start: Start, token_of: Callable[[int], str]
) -> None:
    async with start(sections=limits(read={"user_burst": 2, "user_per_second": 0.1})) as gateway:
        answering(gateway)
        mine = [(await gateway.request("GET", "/v1/users/me")).status_code for _ in range(3)]
        assert mine == [200, 200, 429]
        headers = {"Authorization": f"Bearer {token_of(1002)}"}
        other = await gateway.anonymous("GET", "/v1/users/me", headers=headers)
        assert other.status_code == 200


async def test_a_made_up_token_counts_for_the_address_only(start: Start) -> None:
    async with start(sections=limits(read={"user_burst": 2, "user_per_second": 0.1})) as gateway:
        answering(gateway)
        made_up = {"Authorization": f"{gateway.http.headers['authorization']}x"}
        for _ in range(3):
            answer = await gateway.anonymous("GET", "/v1/users/me", headers=made_up)
            assert "read-user" not in answer.headers["ratelimit"]
        assert (await gateway.request("GET", "/v1/users/me")).status_code == 200


@pytest.mark.parametrize(
    ("kind", "verb", "path", "body"),
    [
        ("registration", "POST", "/v1/auth/register", LOGIN),
        ("login", "POST", "/v1/auth/login", LOGIN),
        ("login", "POST", "/v1/auth/password", {}),
        ("search", "GET", "/v1/users?q=a", None),
        ("search", "GET", "/v1/messages/search?q=a", None),
        ("upload", "POST", "/v1/files", None),
        ("write", "PATCH", "/v1/users/me", {}),
        ("write", "POST", "/v1/messages", {}),
        ("read", "POST", "/v1/sync", {}),
        ("read", "GET", "/v1/conversations", None),
    ],
)
async def test_each_route_has_its_class(
    start: Start, kind: str, verb: str, path: str, body: Any
) -> None:
    async with start(sections=limits()) as gateway:
        answering(gateway)
        arguments = {} if body is None else {"json": body}
        answer = await gateway.request(verb, path, **arguments)
        assert answer.headers["ratelimit"].startswith(f'"{kind}-address"')


async def test_what_is_no_part_of_the_api_is_not_counted(start: Start) -> None:
    async with start(sections=limits()) as gateway:
        for path in ("/docs", "/openapi.json", "/nothing"):
            assert "ratelimit" not in (await gateway.anonymous("GET", path)).headers


async def test_behind_a_trusted_proxy_the_client_is_who_it_names(start: Start) -> None:
    few = {"address_burst": 1, "address_per_second": 0.1}
    async with start(sections=limits(login=few), trusted_proxies=1) as gateway:
        answering(gateway)
        said = ["192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "2001:db8::2"]
        statuses = [
            (await login(gateway, **{"X-Forwarded-For": address})).status_code for address in said
        ]
        # Of IPv6 everybody has a /64.
        assert statuses == [200, 200, 429, 200, 429]


async def test_a_request_costs_one_round_trip(start: Start, valkey: Any) -> None:
    async with start(sections=limits()) as gateway:
        answering(gateway)
        await gateway.request("GET", "/v1/users/me")
        redis = open_redis(valkey.conf)
        before = await redis.info("stats")
        for _ in range(20):
            assert (await gateway.request("GET", "/v1/users/me")).status_code == 200
        after = await redis.info("stats")
        await redis.aclose()
        # A bucket of the address and one of the user, in one pipeline; and our own question.
        read = after["total_reads_processed"] - before["total_reads_processed"]
        assert read <= 20 + 1
        ran = after["total_commands_processed"] - before["total_commands_processed"]
        assert 40 <= ran <= 41 + 40 * 5


async def test_without_redis_all_go_on_but_those_who_log_in(
    start: Start, redis_at: Callable[[int], Any]
) -> None:
    sections = limits() | {"redis": redis_at(free_port())}
    async with start(sections=sections) as gateway:
        answering(gateway)
        for path in ("/v1/auth/login", "/v1/auth/register"):
            answer = await gateway.anonymous("POST", path, json=LOGIN)
            assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
            assert answer.headers["retry-after"] == "1"
        answer = await gateway.request("GET", "/v1/users/me")
        assert answer.status_code == 200
        assert "ratelimit" not in answer.headers


async def test_a_redis_that_forgot_its_scripts_gets_them_again(start: Start, valkey: Any) -> None:
    async with start(sections=limits()) as gateway:
        answering(gateway)
        redis = open_redis(valkey.conf)
        for _ in range(2):
            assert "ratelimit" in (await gateway.request("GET", "/v1/users/me")).headers
            await redis.script_flush()
        await redis.aclose()


async def test_the_switch_turns_all_off(gateway: Gateway) -> None:
    answering(gateway)
    assert "ratelimit" not in (await login(gateway)).headers
