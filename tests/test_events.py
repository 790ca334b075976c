"""Events: every change is told to every device once and in order, whatever is killed in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from im_changes import Changes, made_group
from im_ears import RETRY_S, Ears, events_among
from im_infra import kill_and_start, open_redis_of, pid_of
from im_people import PASSWORD, Connect, Device, Frame, MakeUser, User

from im_local.testing import System

KILLS = 3
SETTLED_S = 40.0


async def _events_of(device: Device, count: int) -> list[Frame]:
    await device.wait_for(lambda _: len(events_among(device.frames)) >= count)
    return events_among(device.frames)


@asynccontextmanager
async def _listening(system: System, user: User, devices: int) -> AsyncIterator[list[Ears]]:
    ears = [Ears() for _ in range(devices)]
    tasks = [asyncio.create_task(one.listen(system.any_ws, user)) for one in ears]
    try:
        for one in ears:
            await one.is_open.wait()
        yield ears
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _told(ears: list[Ears], count: int) -> None:
    async with asyncio.timeout(SETTLED_S):
        while any(len(one.events) < count for one in ears):
            await asyncio.sleep(RETRY_S)


async def _set_block(user: User, target: int, blocked: bool) -> None:
    response = await user.request("PUT" if blocked else "DELETE", f"/v1/blocks/{target}")
    assert response.status_code == 204, response.text


async def _until_set(user: User, target: int, blocked: bool) -> None:
    """Tries again until it is done: a change whose answer was lost is none the second time."""
    while True:
        try:
            return await _set_block(user, target, blocked)
        except (AssertionError, httpx.HTTPError):
            await asyncio.sleep(RETRY_S)


async def test_a_change_of_the_block_list_is_told_to_ones_own_devices_only(
    new_user: MakeUser, online: Connect
) -> None:
    ann, bob = await new_user(), await new_user()
    phone, laptop, others = await online(ann), await online(ann), await online(bob)
    await _set_block(ann, bob.user_id, True)
    await _set_block(ann, bob.user_id, True)
    await _set_block(ann, bob.user_id, False)
    await _set_block(ann, bob.user_id, False)
    told = [await _events_of(device, 2) for device in (phone, laptop)]
    assert told[0] == told[1]
    assert [(e["event"], e["data"]) for e in told[0]] == [
        ("BlockListChanged", {"user_id": bob.user_id, "blocked": True}),
        ("BlockListChanged", {"user_id": bob.user_id, "blocked": False}),
    ]
    assert set(told[0][0]) == {"type", "event_id", "event", "data", "timestamp"}
    await _set_block(bob, ann.user_id, True)
    (own,) = await _events_of(others, 1)
    assert own["data"]["user_id"] == ann.user_id
    assert len(events_among(phone.frames)) == 2


async def test_who_is_away_finds_events_in_order_and_once(
    system: System, new_user: MakeUser, online: Connect
) -> None:
    ann, bob, eve = await new_user(), await new_user(), await new_user()
    for target in (bob, eve):
        await _set_block(ann, target.user_id, True)
    phone = await online(ann)
    assert [e["data"]["user_id"] for e in await _events_of(phone, 2)] == [bob.user_id, eve.user_id]
    async with open_redis_of(system) as redis, asyncio.timeout(15):
        while await redis.exists(f"offline:msg:{ann.user_id}"):
            await asyncio.sleep(0.01)
    await phone.close()
    again = await online(ann)
    await _set_block(ann, bob.user_id, False)
    (event,) = await _events_of(again, 1)
    assert event["data"] == {"user_id": bob.user_id, "blocked": False}


@pytest.mark.parametrize("name", ["friend", "group", "chat-mq", "redis", "mysql", "kafka"])
async def test_every_change_is_told_once_and_in_order_whatever_is_killed(
    system: System, http: httpx.AsyncClient, new_user: MakeUser, name: str
) -> None:
    """Blocks in quick succession, and beside them requests, friendships and a group."""
    if pid_of(system, name) is None:
        pytest.skip("only among the real servers")
    others = Changes(system, http)
    group = await made_group(await new_user(), await new_user())
    ann = await new_user()
    targets = [await new_user() for _ in range(3)]
    changes: list[tuple[int, bool]] = []
    enough = asyncio.Event()

    async def change() -> None:
        blocked = False
        while not enough.is_set():
            blocked = not blocked
            for target in targets:
                await _until_set(ann, target.user_id, blocked)
                changes.append((target.user_id, blocked))

    async with others.running([group]), _listening(system, ann, 2) as ears:
        changing = asyncio.create_task(change())
        for _ in range(KILLS):
            await asyncio.sleep(1.0)
            await kill_and_start(system, name)
        enough.set()
        await changing
        await others.finish()
        await _told(ears, len(changes))
        # What was told of a change that was taken back would be before this one.
        was_blocked = changes[-len(targets)][1]
        await _until_set(ann, targets[0].user_id, not was_blocked)
        changes.append((targets[0].user_id, not was_blocked))
        await _told(ears, len(changes))
        await others.check()
    for one in ears:
        assert one.repeated == []
        assert [(e["data"]["user_id"], e["data"]["blocked"]) for e in one.events] == changes


async def test_the_other_devices_are_told_of_a_session_that_was_ended(
    http: httpx.AsyncClient, new_user: MakeUser, online: Connect
) -> None:
    ann = await new_user()
    body = {"username": ann.username, "password": PASSWORD}
    answer = (await http.post("/v1/auth/login", json=body)).json()
    second = User.of(http, ann.username, answer)
    phone, laptop = await online(ann), await online(second)
    response = await ann.request("DELETE", f"/v1/auth/sessions/{second.session_id}")
    assert response.status_code == 204, response.text
    (event,) = await _events_of(phone, 1)
    assert (event["event"], event["data"]) == ("SessionRevoked", {"session_id": second.session_id})
    assert await laptop.wait_closed() == 4002
    assert events_among(laptop.frames) == []
