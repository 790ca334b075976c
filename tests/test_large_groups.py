"""A group that is too large for copies: who is there gets each message, who was away syncs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
from im_infra import open_redis_of
from im_people import Device, User, make_group, register

from im_local.testing import System

# More than the 500 that get copies.
MEMBERS = 510
AT_ONCE = 8


async def _people(http: httpx.AsyncClient, number: int) -> list[User]:
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one() -> User:
        async with at_once:
            return await register(http)

    return await asyncio.gather(*(one() for _ in range(number)))


async def _conversation(user: User, conversation_id: str) -> dict[str, object]:
    page = await user.get("/v1/conversations")
    [found] = [one for one in page["items"] if one["conversation_id"] == conversation_id]
    return dict(found)


async def _listed(system: System, user: User) -> list[str]:
    """The types of what waits for one who is away: events of the group are among it."""
    async with open_redis_of(system) as redis:
        frames = await redis.lrange(f"offline:msg:{user.user_id}", 0, -1)
    return [json.loads(frame)["type"] for frame in frames]


def _seqs(device: Device) -> list[int]:
    return [frame["seq"] for frame in device.received() if frame["type"] == "message"]


async def test_who_was_away_of_a_large_group_syncs_and_its_counts_are_right(
    tmp_path: Path,
) -> None:
    # On servers of its own: the others' groups are smaller.
    env = {"IM_RATE_LIMITS": "off", "IM_BCRYPT_COST": "4", "IM_MAX_MEMBERS": str(MEMBERS)}
    with System.start(tmp_path, env=env) as system:
        async with httpx.AsyncClient(base_url=system.ready.api, timeout=60) as http:
            await _away_and_here(system, await _people(http, MEMBERS))


async def _away_and_here(system: System, people: list[User]) -> None:
    owner, here, away, gone = people[:4]
    group_id = await make_group(owner, *people[1:])
    on, path = f"g:{group_id}", f"/v1/groups/{group_id}/members"
    async with (
        await Device.connect(system.ready.ws, owner) as writer,
        await Device.connect(system.ready.ws, here) as listener,
    ):
        assert (await writer.ask(group_id=group_id, content="1"))["seq"] == 2
        removed = await owner.request("DELETE", f"{path}/{gone.user_id}")
        assert removed.status_code == 204, removed.text
        last = await writer.ask(group_id=group_id, content="all", mentions=["all"])
        assert last["seq"] == 4
        await listener.wait_for(lambda frame: frame.get("seq") == 4)
        assert [seq for seq in _seqs(listener) if seq > 1] == [2, 3, 4]
        assert "message" not in await _listed(system, away)
        conversation = await _conversation(away, on)
        assert (conversation["unread"], conversation["mentioned_seq"]) == (4, 4)
        async with await Device.connect(system.ready.ws, away) as back:
            assert (await back.ask(group_id=group_id, content="2"))["seq"] == 5
            await back.send(type="sync", cursors={on: 0}, limit=100)
            synced = await back.wait_for(lambda frame: frame["type"] == "sync")
            [found] = synced["conversations"]
            assert [message["seq"] for message in found["messages"]] == [1, 2, 3, 4, 5]
            assert {frame["type"] for frame in back.received()} <= {"event"}
        await listener.wait_for(lambda frame: frame.get("seq") == 5)
    assert [message["seq"] for message in await gone.history(on)] == [1, 2]
