"""Two gateways: killed, drained, and with a device that goes from one to the other."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial

import httpx
import pytest
from im_infra import open_redis_of
from im_load import Load
from im_people import Device, User, make_group, register, single
from im_receiver import Receiver
from redis.asyncio import Redis

from im_local.testing import System

# By hand with more: each pair is two users, four devices.
PAIRS = int(os.environ.get("GATEWAY_TEST_PAIRS", "12"))
RATE = min(300, 10 * PAIRS)
# As many phones come and go in a second, however many there are.
STAY_S = (PAIRS / 24, PAIRS / 4)
OFFLINE_WITHIN_S = 15.0
WRITTEN_AGAIN_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def wide(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system with two gateways; the one of all tests where it has them."""
    if len(system.ready.ws_gateways) > 1:
        yield system
        return
    env = {"IM_RATE_LIMITS": "off", "IM_BCRYPT_COST": "4"}
    scale = {"ws-gateway": 2, "chat-mq": 2}
    with System.start(tmp_path_factory.mktemp("wide"), env=env, scale=scale) as running:
        yield running


@pytest.fixture
async def api(wide: System) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=wide.ready.api, timeout=15, verify=False) as client:
        yield client


async def test_one_gateway_killed_and_all_restarted_in_turn_under_load(
    wide: System, api: httpx.AsyncClient
) -> None:
    """Everything that was answered `sent` is stored once, in order, and received by every device."""
    load = Load(wide, api, pairs=PAIRS, rate=RATE, stay_s=STAY_S)
    await load.start()
    await load.sent_after(0.0)
    load.watch("one of two gateways killed, then both drained in turn", gateway_dies=True)
    wide.kill("ws-gateway")
    await load.sent_after(time.monotonic())
    await asyncio.to_thread(wide.wait_ready, "ws-gateway")
    for name in ("ws-gateway-2", "ws-gateway"):
        wide.kill(name, signal.SIGTERM)
        await asyncio.to_thread(wide.wait_ready, name)
        await load.sent_after(time.monotonic())
    await load.finish()
    print(f"\n{load.report()}; {len(load.pairs)} pairs")


async def test_a_device_that_goes_to_another_gateway_is_connected_once(
    wide: System, api: httpx.AsyncClient
) -> None:
    ann, bob = await register(api), await register(api)
    first, second = wide.ready.ws_gateways
    named = "?device_id=phone"
    async with (
        await Device.connect(first, ann, query=named) as old,
        await Device.connect(first, ann, query="?device_id=laptop") as other,
        await Device.connect(second, ann, query=named) as new,
        await Device.connect(second, bob) as sender,
    ):
        assert await old.wait_closed() == 4002
        assert old.frames[-1] == {"type": "kick", "reason": "this device has connected again"}
        assert (await sender.ask(to=ann.user_id, content="hello"))["type"] == "sent"
        for device in (other, new):
            assert [f["content"] for f in await device.wait_received(1)] == ["hello"]


async def test_users_of_a_gateway_that_was_killed_are_offline_in_time(
    wide: System, api: httpx.AsyncClient
) -> None:
    ann, bob = await register(api), await register(api)
    async with await Device.connect(wide.ready.ws_gateways[1], bob):
        assert await _is_online(ann, bob)
        killed_at = time.monotonic()
        wide.kill("ws-gateway-2")
        asked_at = killed_at
        while await _is_online(ann, bob):
            assert asked_at < killed_at + OFFLINE_WITHIN_S
            await asyncio.sleep(0.1)
            asked_at = time.monotonic()
    await asyncio.to_thread(wide.wait_ready, "ws-gateway-2")


async def _is_online(asker: User, user: User) -> bool:
    response = await asker.request("GET", f"/v1/users/online?ids={user.user_id}")
    return bool(response.json()["items"][0]["online"])


async def test_routes_that_were_lost_are_written_again_and_what_came_meanwhile_is_not(
    wide: System, api: httpx.AsyncClient
) -> None:
    """It comes by itself, or to a device that was told to connect again."""
    ann, bob, carl = [await register(api) for _ in range(3)]
    group_id = await make_group(ann, bob, carl)
    wrong: list[str] = []
    to_bob, to_all = single(ann, bob), f"g:{group_id}"
    devices = [
        Receiver(of, partial(wide.ready.ws_gateways.__getitem__, number), user, of, wrong)
        for number, user, of in ((0, bob, to_bob), (0, bob, to_all), (1, carl, to_all))
    ]
    running = [asyncio.create_task(device.run(lambda: None)) for device in devices]
    async with open_redis_of(wide) as redis:
        assert (await ann.request("POST", "/v1/messages", json=_to(bob))).status_code == 201
        # The group's first is that it was made.
        await _have(devices, 1)
        for kind in ("route:*", "gateways:*"):
            async for key in redis.scan_iter(kind):
                await redis.delete(key)
        lost_at = time.monotonic()
        for number in range(4):
            assert (await ann.request("POST", "/v1/messages", json=_to(bob))).status_code == 201
            body = {"group_id": group_id, "content": str(number)}
            assert (await ann.request("POST", "/v1/messages", json=body)).status_code == 201
        asked_at = lost_at
        while not await _has_routes(redis, bob, carl):
            assert asked_at < lost_at + WRITTEN_AGAIN_WITHIN_S
            await asyncio.sleep(0.1)
            asked_at = time.monotonic()
        await _have(devices, 5)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert wrong == []


async def _have(devices: Sequence[Receiver], count: int) -> None:
    """Waits until each has so many messages; that it has each once, in order, they see themselves."""
    async with asyncio.timeout(30):
        while not all(list(device.received) == [*range(1, count + 1)] for device in devices):
            await asyncio.sleep(0.05)


async def _has_routes(redis: Redis, *users: User) -> bool:
    keys = [f"route:{user.user_id}" for user in users]
    return int(await redis.exists(*keys)) == len(keys)


def _to(user: User) -> dict[str, object]:
    return {"to": user.user_id, "content": "hello"}
