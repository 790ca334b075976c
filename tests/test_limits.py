"""What a system with its usual limits refuses."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import httpx
import pytest
from im_people import PASSWORD, Device, new_name, register
from websockets.exceptions import ConnectionClosed

from im_client import ApiError, ImClient
from im_local.testing import System


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """On the embedded default: the real servers have a system already."""
    with System.start(tmp_path_factory.mktemp("limits")) as running:
        yield running


@pytest.fixture
async def limited(usual: System) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=usual.ready.api, timeout=15) as client:
        yield client


async def test_guessing_a_password_gets_slower(limited: httpx.AsyncClient) -> None:
    user = await register(limited)
    body = {"username": user.username, "password": "wrong password"}
    seen = []
    for _ in range(7):
        response = await limited.post("/v1/auth/login", json=body)
        seen.append(response.json()["code"])
    assert seen[0] == "INVALID_CREDENTIALS"
    assert seen[-1] == "ACCOUNT_LOCKED"
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) >= 1
    unknown = await limited.post("/v1/auth/login", json=body | {"username": "nobody.of.that.name"})
    assert (unknown.status_code, unknown.json()["code"]) == (401, "INVALID_CREDENTIALS")


async def test_a_client_asks_with_a_wrong_password_as_often_as_somebody_types_it(
    usual: System,
) -> None:
    body = {"old_password": "wrong password", "new_password": PASSWORD}
    async with ImClient(usual.ready.api, ws=usual.ready.ws) as ann:
        await ann.register(new_name(), PASSWORD)
        for _ in range(4):
            with pytest.raises(ApiError) as refused:
                await ann.http.post("/v1/auth/password", body)
            assert refused.value.code == "INVALID_CREDENTIALS"


async def test_messages_over_the_rate_are_sent_when_their_turn_comes(
    usual: System, limited: httpx.AsyncClient
) -> None:
    """A whole queue at once: each frame has its answer, and what waits as long as told gets in."""
    a, b = await register(limited), await register(limited)
    async with (
        await Device.connect(usual.ready.ws, a) as sender,
        await Device.connect(usual.ready.ws, b) as receiver,
    ):
        names = [secrets.token_hex(8) for _ in range(50)]
        for name in names:
            await sender.send(type="chat", to=b.user_id, content=name, client_msg_id=name)
        await sender.wait_for(
            lambda _: len(sender.of("sent")) + len(sender.of("error")) == len(names)
        )
        refused = sender.of("error")
        assert len(sender.of("sent")) >= 40
        assert {frame["code"] for frame in refused} == {"RATE_LIMITED"}
        began = time.monotonic()
        for frame in refused:
            due = began + frame["retry_after_ms"] / 1000
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            name = frame["client_msg_id"]
            await sender.send(type="chat", to=b.user_id, content=name, client_msg_id=name)
        await sender.wait_count("sent", len(names))
        received = await receiver.wait_received(len(names))
        assert sorted(message["content"] for message in received) == sorted(names)
        assert len(sender.of("error")) == len(refused)


async def test_who_ignores_the_rate_is_sent_away(usual: System, limited: httpx.AsyncClient) -> None:
    a, b = await register(limited), await register(limited)
    async with await Device.connect(usual.ready.ws, a) as sender:
        # It may be sent away before it has said all.
        with suppress(ConnectionClosed):
            for number in range(1_500):
                await sender.send(type="chat", to=b.user_id, content="x", client_msg_id=str(number))
        assert await sender.wait_closed() == 4008
