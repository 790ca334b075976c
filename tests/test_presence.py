"""Friends who are online see who comes and goes."""

from __future__ import annotations

import asyncio
import time

import pytest
from im_infra import kill_and_start
from im_people import Connect, Device, Frame, MakeUser, User

from im_local.testing import System

GONE_AFTER_S = 5.0
# A route of a gateway that died runs out within that time.
ROUTE_S = 30.0


async def befriend(a: User, b: User) -> None:
    """Each asks the other, which makes them friends."""
    for one, other in ((a, b), (b, a)):
        body = {"user_id": other.user_id}
        response = await one.request("POST", "/v1/friends/requests", json=body)
        assert response.status_code in (200, 201), response.text


@pytest.fixture
async def ann(new_user: MakeUser) -> User:
    return await new_user()


@pytest.fixture
async def bob(new_user: MakeUser, ann: User) -> User:
    """A friend of hers."""
    bob = await new_user()
    await befriend(ann, bob)
    return bob


def told(device: Device, of: User) -> list[bool]:
    return [f["online"] for f in device.of("presence") if f["user_id"] == of.user_id]


async def hears(device: Device, of: User, *online: bool, limit_s: float = 15) -> Frame:
    """Waits until the device was told that often; what it was told is just this. The last frame."""
    await device.wait_for(lambda _: len(told(device, of)) >= len(online), limit_s=limit_s)
    assert told(device, of) == list(online)
    return [f for f in device.of("presence") if f["user_id"] == of.user_id][-1]


async def test_friends_are_told_when_the_first_device_comes_and_the_last_has_gone(
    ann: User, bob: User, new_user: MakeUser, online: Connect
) -> None:
    friend, stranger = await online(bob), await online(await new_user())
    before = int(time.time() * 1000)
    phone = await online(ann)
    came = await hears(friend, ann, True)
    assert set(came) == {"type", "user_id", "online", "last_seen"}
    assert came["last_seen"] >= before
    laptop = await online(ann)
    await phone.close()
    await laptop.close()
    left_at = time.monotonic()
    gone = await hears(friend, ann, True, False)
    assert time.monotonic() - left_at >= GONE_AFTER_S - 1
    assert gone["last_seen"] >= came["last_seen"]
    assert told(stranger, ann) == []


async def test_a_device_that_comes_back_within_five_seconds_is_no_news(
    ann: User, bob: User, new_user: MakeUser, online: Connect
) -> None:
    eve = await new_user()
    await befriend(eve, bob)
    friend = await online(bob)
    first, other = await online(ann), await online(eve)
    await hears(friend, ann, True)
    await hears(friend, eve, True)
    await first.close()
    await other.close()
    await online(ann)
    # Eve left after Ann, and did not come back.
    await hears(friend, eve, True, False)
    assert told(friend, ann) == [True]


async def test_who_hides_and_who_blocks_tells_nothing(
    ann: User, bob: User, new_user: MakeUser, online: Connect
) -> None:
    hidden, blocker = await new_user(), await new_user()
    await befriend(hidden, bob)
    await befriend(blocker, bob)
    answer = await hidden.request("PATCH", "/v1/users/me", json={"presence_hidden": True})
    assert answer.status_code == 200, answer.text
    assert (await blocker.request("PUT", f"/v1/blocks/{bob.user_id}")).status_code == 204
    friend = await online(bob)
    for user in (hidden, blocker, ann):
        await online(user)
    await hears(friend, ann, True)
    assert told(friend, hidden) == told(friend, blocker) == []
    # Who shows themselves comes, and who hides goes.
    for hides, shown in ((False, [True]), (True, [True, False])):
        await hidden.request("PATCH", "/v1/users/me", json={"presence_hidden": hides})
        await hears(friend, hidden, *shown)
    assert told(friend, blocker) == []


async def test_who_was_on_a_gateway_that_was_killed_is_gone_when_the_routes_run_out(
    system: System, ann: User, bob: User, online: Connect
) -> None:
    url = system.ready.ws
    friend, phone = await online(bob, url=url), await online(ann, url=url)
    await hears(friend, ann, True)
    await kill_and_start(system, "ws-gateway")
    await phone.wait_closed()
    # Only Bob comes back.
    again = await online(bob)
    await hears(again, ann, False, limit_s=ROUTE_S + GONE_AFTER_S + 10)
    assert told(again, bob) == []


async def test_a_friend_of_many_is_told_of_each_once(
    ann: User, new_user: MakeUser, online: Connect
) -> None:
    friends = [await new_user() for _ in range(6)]
    for friend in friends:
        await befriend(ann, friend)
    phone = await online(ann)
    await asyncio.gather(*(online(friend) for friend in friends))
    for friend in friends:
        await hears(phone, friend, True)
