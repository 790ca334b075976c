"""Any one process may be killed; without touching the others the system works again."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable

import httpx
import pytest
from im_infra import kill, pid_of, start_what_is_dead
from im_people import PASSWORD, Device, User, make_group, register, single

from im_local import processes
from im_local.testing import System

WORKS_AGAIN_S = 15.0
SERVICES = [service.name for service in processes.SERVICES]


async def _retry(step: Callable[[], Awaitable[None]], deadline: float) -> None:
    """What a client does while something is away: try again."""
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                await step()
                return
        except (AssertionError, OSError, httpx.HTTPError, Exception) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"does not work again: {error!r}") from error
            await asyncio.sleep(0.1)


async def _everything_works(system: System, http: httpx.AsyncClient) -> None:
    """Register, log in, connect, talk one to one and in a group, read the history."""
    a, b = await register(http), await register(http)
    answer = await http.post("/v1/auth/login", json={"username": a.username, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    async with (
        await Device.connect(system.any_ws(), a) as device_a,
        await Device.connect(system.any_ws(), b) as device_b,
    ):
        assert (await device_a.ask(to=b.user_id, content="x"))["type"] == "sent"
        await device_b.wait_for(lambda f: f["type"] == "message")
        sent = await device_a.ask(group_id=await make_group(a, b), content="y")
        assert sent["type"] == "sent", sent
    assert len(await b.history(single(a, b))) == 1


@pytest.mark.parametrize("name", [*SERVICES, "redis", "etcd", "mysql", "kafka"])
async def test_the_system_works_again_after_a_kill(
    system: System, http: httpx.AsyncClient, name: str
) -> None:
    old = pid_of(system, name)
    if old is None:
        pytest.skip("only among the real servers")
    kill(system, name)
    if name not in SERVICES:
        await asyncio.to_thread(start_what_is_dead)
    deadline = asyncio.get_running_loop().time() + WORKS_AGAIN_S
    started = time.monotonic()

    async def again() -> None:
        assert pid_of(system, name) != old
        await _everything_works(system, http)

    await _retry(again, deadline)
    print(f"\n{name}: works again after {time.monotonic() - started:.1f} s")


@pytest.mark.parametrize("name", ["chat-mq", "ws-gateway", "friend", "chat"])
async def test_messages_sent_across_a_kill_are_stored_once_and_in_order(
    system: System, http: httpx.AsyncClient, name: str
) -> None:
    """The client sends what was not answered again, with the same client_msg_id."""
    a, b = await register(http), await register(http)
    total = 400
    placed: dict[str, int] = {}

    async def send_rest() -> None:
        async with await Device.connect(system.ready.ws, a) as device:
            for i in range(total):
                if f"m{i}" not in placed:
                    await device.send(
                        type="chat", to=b.user_id, content=str(i), client_msg_id=f"m{i}"
                    )
            waited = time.monotonic() + 12
            while time.monotonic() < waited and len(placed) < total:
                for frame in device.of("sent"):
                    placed[frame["client_msg_id"]] = frame["seq"]
                if device.socket.close_code is not None:
                    break
                await asyncio.sleep(0.02)
        assert len(placed) == total

    sending = asyncio.create_task(_retry(send_rest, asyncio.get_running_loop().time() + 45))
    while not placed and not sending.done():
        await asyncio.sleep(0.01)
    system.kill(name)
    await sending
    await asyncio.to_thread(system.wait_ready, name)
    history = await _history_when_ready(a, b)
    assert [f["seq"] for f in history] == list(range(1, total + 1))
    assert {f["client_msg_id"]: f["seq"] for f in history} == placed
    assert {f["content"] for f in history} == {str(i) for i in range(total)}


async def _history_when_ready(a: User, b: User) -> list[dict[str, object]]:
    history: list[dict[str, object]] = []

    async def read() -> None:
        history[:] = await a.history(single(a, b))

    await _retry(read, asyncio.get_running_loop().time() + 15)
    return history


async def test_a_user_whose_gateway_died_is_away_and_gets_the_message_later(
    system: System, http: httpx.AsyncClient
) -> None:
    a, b = await register(http), await register(http)
    lost = await Device.connect(system.ready.ws, b)
    system.kill("ws-gateway")
    await lost.close()
    # Over HTTP, so that the gateway need not be there again.
    body = {"to": b.user_id, "content": "later", "client_msg_id": secrets.token_hex(4)}

    async def send() -> None:
        response = await a.request("POST", "/v1/messages", json=body)
        assert response.status_code == 201, response.text

    await _retry(send, asyncio.get_running_loop().time() + 15)
    await asyncio.to_thread(system.wait_ready, "ws-gateway")
    async with await Device.connect(system.ready.ws, b) as device:
        assert [f["content"] for f in await device.wait_received(1)] == ["later"]


async def test_an_account_that_is_deleted_while_things_die_is_forgotten_everywhere(
    system: System, http: httpx.AsyncClient
) -> None:
    a, b = await register(http), await register(http)
    asked = await a.request("POST", "/v1/friends/requests", json={"user_id": b.user_id})
    path = f"/v1/friends/requests/{asked.json()['request_id']}/accept"
    assert (await b.request("POST", path)).status_code == 204
    group_id = await make_group(b, a)
    for name in ("friend", "group"):
        kill(system, name)
    gone = await a.request("DELETE", "/v1/users/me", json={"password": PASSWORD})
    kill(system, "auth")
    assert gone.status_code == 204, gone.text

    async def is_forgotten() -> None:
        assert (await b.get("/v1/friends"))["items"] == []
        assert (await b.get(f"/v1/users/{a.user_id}"))["nickname"] == "Deleted user"
        members = await b.get(f"/v1/groups/{group_id}/members")
        assert [member["user_id"] for member in members["items"]] == [b.user_id]

    await _retry(is_forgotten, asyncio.get_running_loop().time() + 2 * WORKS_AGAIN_S)
