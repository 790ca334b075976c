"""`Idempotency-Key`: the same request again gets the same answer, and has one effect."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from api_gateway.kept_answers import Answer, Asked, Attempt, KeptAnswers
from im.auth.v1 import auth_pb2 as auth
from im.chat.v1 import chat_pb2 as chat
from im.friend.v1 import friend_pb2 as friend
from im.group.v1 import group_pb2 as group
from im_common.errors import AppError, Code
from im_common.runtime import context
from im_common.runtime.redis_client import open_redis
from im_common.testing.ports import free_port
from im_common.testing.waiting import eventually

# Fixtures' classes, of conftest.py, which tests do not import.
Gateway = Any
Start = Any

MESSAGE = {"to": 1002, "content": "hello"}


def counting(gateway: Gateway) -> None:
    """Each call of SendMessage makes another message."""

    async def send(asked: chat.SendMessageRequest) -> chat.SendMessageResponse:
        seq = len(gateway.services.calls)
        placed = chat.Placed(client_msg_id=asked.content.client_msg_id, seq=seq)
        return chat.SendMessageResponse(placed=placed)

    gateway.services.answers["SendMessage"] = send


async def send(gateway: Gateway, key: str, body: Any = MESSAGE, **more: Any) -> Any:
    return await gateway.request(
        "POST", "/v1/messages", json=body, headers={"Idempotency-Key": key}, **more
    )


async def test_the_same_again_gets_the_same_answer_and_sends_nothing(gateway: Gateway) -> None:
    counting(gateway)
    first = await send(gateway, "same")
    again = await send(gateway, "same", {"content": "hello", "to": 1002})
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert len(gateway.services.calls) == 1


async def test_another_body_under_the_same_key_is_refused(gateway: Gateway) -> None:
    counting(gateway)
    assert (await send(gateway, "other")).status_code == 201
    refused = await send(gateway, "other", {"to": 1002, "content": "goodbye"})
    assert refused.status_code == 409
    assert refused.json()["code"] == "FAILED_PRECONDITION"
    assert refused.json()["field"] == "Idempotency-Key"
    assert len(gateway.services.calls) == 1


async def test_another_place_under_the_same_key_is_another_request(gateway: Gateway) -> None:
    gateway.services.answers["InviteMembers"] = group.InviteMembersResponse(added=[1002])
    headers = {"Idempotency-Key": "place"}
    body = {"user_ids": [1002]}
    statuses = [
        (await gateway.request("POST", path, json=body, headers=headers)).status_code
        for path in ("/v1/groups/1001/members", "/v1/groups/1002/members")
    ]
    assert statuses == [200, 409]


async def test_another_key_or_none_is_another_message(gateway: Gateway) -> None:
    counting(gateway)
    seqs = [(await send(gateway, key)).json()["seq"] for key in ("one", "two")]
    response = await gateway.request("POST", "/v1/messages", json=MESSAGE)
    assert [*seqs, response.json()["seq"]] == [1, 2, 3]


@pytest.mark.parametrize("key", ["", "x" * 65, "ä"])
async def test_a_bad_key_is_refused_by_its_name(gateway: Gateway, key: str) -> None:
    response = await gateway.request(
        "POST", "/v1/messages", json=MESSAGE, headers=[(b"Idempotency-Key", key.encode())]
    )
    assert response.status_code == 400
    assert response.json()["field"] == "Idempotency-Key"
    assert gateway.services.calls == []


async def test_a_key_of_64_characters_is_taken(gateway: Gateway) -> None:
    counting(gateway)
    assert (await send(gateway, "x" * 64)).status_code == 201


async def test_of_two_at_once_the_second_waits_for_the_answer_of_the_first(
    gateway: Gateway,
) -> None:
    go_on = asyncio.Event()

    async def wait(_: object) -> chat.SendMessageResponse:
        await go_on.wait()
        return chat.SendMessageResponse(placed=chat.Placed(seq=7))

    gateway.services.answers["SendMessage"] = wait
    two = [asyncio.create_task(send(gateway, "two at once")) for _ in range(2)]
    await eventually(lambda: gateway.services.calls)
    done, _ = await asyncio.wait(two, timeout=0.3)
    assert not done
    go_on.set()
    answers = [await one for one in two]
    assert [answer.json()["seq"] for answer in answers] == [7, 7]
    assert len(gateway.services.calls) == 1


async def test_who_cannot_wait_longer_is_told_to_try_again(start: Start) -> None:
    async with start(timeout=1_300) as gateway:
        go_on = asyncio.Event()

        async def wait(_: object) -> chat.SendMessageResponse:
            await go_on.wait()
            return chat.SendMessageResponse()

        gateway.services.answers["SendMessage"] = wait
        first = asyncio.create_task(send(gateway, "slow"))
        await eventually(lambda: gateway.services.calls)
        second = await send(gateway, "slow")
        assert (second.status_code, second.json()["code"]) == (503, "UNAVAILABLE")
        assert second.headers["retry-after"] == "1"
        go_on.set()
        await first
        assert len(gateway.services.calls) == 1


async def test_what_may_go_better_later_is_not_kept(gateway: Gateway) -> None:
    for code in (Code.UNAVAILABLE, Code.RATE_LIMITED, Code.INTERNAL, Code.INVALID_ARGUMENT):
        gateway.services.answers["SendMessage"] = AppError(code, "not now")
        key = f"later {code}"
        assert (await send(gateway, key)).status_code >= 400
        counting(gateway)
        assert (await send(gateway, key)).status_code == 201


async def test_what_was_refused_for_good_is_refused_again(gateway: Gateway) -> None:
    gateway.services.answers["SendMessage"] = AppError(Code.BLOCKED, "blocked")
    first = await send(gateway, "blocked")
    counting(gateway)
    again = await send(gateway, "blocked")
    assert (first.status_code, again.status_code) == (403, 403)
    assert first.content == again.content


async def test_the_key_of_one_user_says_nothing_to_another(
    gateway: Gateway, token_of: Callable[[int], str], open_session: Callable[[int], Awaitable[None]]
) -> None:
    counting(gateway)
    await open_session(1003)
    other = {"Authorization": f"Bearer {token_of(1003)}", "Idempotency-Key": "ours"}
    mine = await send(gateway, "ours")
    theirs = await gateway.anonymous("POST", "/v1/messages", json=MESSAGE, headers=other)
    assert (mine.json()["seq"], theirs.json()["seq"]) == (1, 2)


async def test_a_kept_answer_is_not_for_an_ended_session(
    gateway: Gateway, token_of: Callable[[int], str]
) -> None:
    headers = {"Authorization": f"Bearer {token_of(1004)}", "Idempotency-Key": "ended"}
    response = await gateway.anonymous("POST", "/v1/messages", json=MESSAGE, headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "SESSION_REVOKED")
    assert gateway.services.calls == []


async def test_a_repeat_after_a_crash_says_so_and_makes_nothing_new(gateway: Gateway) -> None:
    asked: dict[str, list[Any]] = {}

    async def lost(method: str, path: str, body: Any, answer: Any, key: str) -> Any:
        headers = {"Idempotency-Key": key}
        gateway.services.answers[method] = AppError(Code.UNAVAILABLE, "the answer is lost")
        lost = await gateway.request("POST", path, json=body, headers=headers)
        assert lost.status_code == 503
        gateway.services.answers[method] = answer
        response = await gateway.request("POST", path, json=body, headers=headers)
        calls = [call.message for call in gateway.services.calls if call.method == method]
        asked[method] = [calls[0], calls[-1]]
        return response

    made = friend.SendFriendRequestResponse(request_id=5)
    response = await lost("SendFriendRequest", "/v1/friends/requests", {"user_id": 7}, made, "f")
    assert response.json() == {"request_id": 5}
    await lost("CreateGroup", "/v1/groups", {"name": "g"}, group.CreateGroupResponse(), "g")
    await lost("SendMessage", "/v1/messages", MESSAGE, chat.SendMessageResponse(), "m")

    first, repeat = asked["SendFriendRequest"]
    assert (first.is_repeat, repeat.is_repeat) == (False, True)
    first, repeat = asked["CreateGroup"]
    assert first.creation_key
    assert first.creation_key == repeat.creation_key
    first, repeat = asked["SendMessage"]
    assert first.content.client_msg_id
    assert first.content.client_msg_id == repeat.content.client_msg_id


async def test_the_senders_own_key_of_a_message_stays(gateway: Gateway) -> None:
    counting(gateway)
    response = await send(gateway, "own", MESSAGE | {"client_msg_id": "c-1"})
    assert response.json()["client_msg_id"] == "c-1"


REGISTER = {"username": "alice", "password": "a long password"}


async def register(gateway: Gateway, key: str) -> Any:
    headers = {"Idempotency-Key": key}
    return await gateway.anonymous("POST", "/v1/auth/register", json=REGISTER, headers=headers)


async def test_who_registers_again_gets_the_same_tokens(gateway: Gateway) -> None:
    tokens = auth.TokenPair(user_id=9, session_id="s", access_token="secret-a", refresh_token="b")
    gateway.services.answers["Register"] = auth.RegisterResponse(tokens=tokens)
    first, again = [await register(gateway, "register") for _ in range(2)]
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert len(gateway.services.calls) == 1
    redis = open_redis(gateway.settings.redis)
    keys = await redis.keys("idempotency:*")
    kept = [await redis.hgetall(key) for key in keys]
    lives = [await redis.pttl(key) for key in keys]
    await redis.aclose()
    assert keys
    assert not any(b"secret-a" in value for fields in kept for value in fields.values())
    assert all(0 < life <= 86_400_000 for life in lives)


async def test_an_account_that_a_lost_answer_made_is_its_makers(gateway: Gateway) -> None:
    gateway.services.answers["Register"] = AppError(Code.DEADLINE_EXCEEDED, "too long")
    assert (await register(gateway, "lost")).status_code == 504
    gateway.services.answers["Register"] = AppError(Code.ALREADY_EXISTS, "taken", field="username")
    tokens = auth.TokenPair(user_id=9, session_id="s", access_token="a", refresh_token="b")
    gateway.services.answers["Login"] = auth.LoginResponse(tokens=tokens)
    response = await register(gateway, "lost")
    assert (response.status_code, response.json()["user_id"]) == (201, 9)


async def test_a_name_that_somebody_else_took_meanwhile_stays_taken(gateway: Gateway) -> None:
    gateway.services.answers["Register"] = AppError(Code.UNAVAILABLE, "away")
    assert (await register(gateway, "taken")).status_code == 503
    gateway.services.answers["Register"] = AppError(Code.ALREADY_EXISTS, "taken", field="username")
    gateway.services.answers["Login"] = AppError(Code.INVALID_CREDENTIALS, "wrong")
    response = await register(gateway, "taken")
    assert (response.status_code, response.json()["code"]) == (409, "ALREADY_EXISTS")


async def test_a_taken_name_is_no_log_in(gateway: Gateway) -> None:
    gateway.services.answers["Register"] = AppError(Code.ALREADY_EXISTS, "taken", field="username")
    assert (await register(gateway, "first try")).status_code == 409
    assert [call.method for call in gateway.services.calls] == ["Register"]


async def test_without_redis_a_key_is_refused_and_nothing_is_done(
    start: Start, redis_at: Callable[[int], Any]
) -> None:
    async with start(sections={"redis": redis_at(free_port())}) as gateway:
        counting(gateway)
        response = await send(gateway, "no redis")
        assert (response.status_code, response.json()["code"]) == (503, "UNAVAILABLE")
        assert "retry-after" in response.headers
        assert gateway.services.calls == []
        response = await gateway.request("POST", "/v1/messages", json=MESSAGE)
        assert response.status_code == 201


async def test_who_died_at_it_holds_the_key_for_a_time_only(valkey: Any) -> None:
    redis = open_redis(valkey.conf)
    kept = KeptAnswers(redis, secret="s" * 32, answered_within_ms=200)
    asked = Asked(who="1001", route="/v1/groups", key="died", body=b"{}")
    context.begin(deadline=time.monotonic() + 5)
    first = await kept.begin(asked)
    assert isinstance(first, Attempt)
    second = await kept.begin(asked)
    assert isinstance(second, Attempt)
    assert (first.is_repeat, second.is_repeat) == (False, True)
    assert first.print == second.print
    # It was not dead, only slow: what counts is what the second one answers.
    await kept.forget(first)
    await kept.keep(second, Answer(201, "application/json", b"{}"))
    await kept.keep(first, Answer(500, "", b""))
    assert await kept.begin(asked) == Answer(201, "application/json", b"{}")
    await redis.aclose()
