"""Who was away gets everything, in order, until a device has confirmed it."""

from __future__ import annotations

import asyncio
import json
import time

from im_infra import open_redis_of
from im_people import Connect, Device, MakeUser, User

from im_local.testing import System

COUNT = 250


async def _send_while_away(sender: Device, to: User, first: int, count: int) -> None:
    for i in range(first, first + count):
        await sender.send(type="chat", to=to.user_id, content=str(i), client_msg_id=f"m{i}")
    await sender.wait_for(lambda f: f.get("client_msg_id") == f"m{first + count - 1}")


async def test_batches_come_in_order_again_and_go_when_confirmed(
    new_user: MakeUser, online: Connect
) -> None:
    a, b = await new_user(), await new_user()
    device_a = await online(a)
    await _send_while_away(device_a, b, 0, COUNT)
    await device_a.wait_count("sent", COUNT)

    # Not confirmed: one batch, and the same again next time.
    for _ in range(2):
        async with await online(b, confirm=False) as silent:
            batch = await silent.wait_for(lambda f: f["type"] == "offline")
            assert [f["content"] for f in batch["frames"]] == [str(i) for i in range(100)]
            assert batch["remaining"] == 150

    async with await online(b) as device_b:
        messages = await device_b.wait_received(COUNT)
        assert [f["seq"] for f in messages] == list(range(1, COUNT + 1))
        assert [len(f["frames"]) for f in device_b.of("offline")] == [100, 100, 50]
        assert [f["remaining"] for f in device_b.of("offline")] == [150, 50, 0]
        # The confirmation of the last batch is done when a frame sent after it is answered.
        await device_b.ask(to=a.user_id, content="thanks")

    async with await online(b) as device_b:
        await device_a.ask(to=b.user_id, content="new")
        await device_b.wait_for(lambda f: f.get("content") == "new")
        assert not device_b.of("offline")


async def test_what_arrives_while_batches_are_sent_comes_after_them(
    new_user: MakeUser, online: Connect
) -> None:
    a, b = await new_user(), await new_user()
    device_a = await online(a)
    await _send_while_away(device_a, b, 0, COUNT)
    sending = asyncio.create_task(_send_while_away(device_a, b, COUNT, COUNT))
    device_b = await online(b)
    messages = await device_b.wait_received(2 * COUNT)
    await sending
    assert [f["seq"] for f in messages] == list(range(1, 2 * COUNT + 1))


async def test_who_confirms_late_gets_all_the_same_and_what_is_younger_after_it(
    new_user: MakeUser, online: Connect
) -> None:
    a, b = await new_user(), await new_user()
    device_a = await online(a)
    await _send_while_away(device_a, b, 0, COUNT)
    async with await online(b, confirm=False) as device_b:
        await device_b.wait_for(lambda f: f["type"] == "offline")
        await device_a.ask(to=b.user_id, content="live")
        await device_b.wait_for(lambda f: f.get("content") == "live")
        for batch in await device_b.wait_count("offline", 3):
            await device_b.send(type="offline_ack", batch_id=batch["batch_id"])
        # Done when a frame sent after them is answered.
        await device_b.ask(to=a.user_id, content="thanks")
        assert [f["seq"] for f in device_b.received()] == list(range(1, COUNT + 2))
    async with await online(b) as device_b:
        await device_a.ask(to=b.user_id, content="new")
        await device_b.wait_for(lambda f: f.get("content") == "new")
        assert not device_b.of("offline")


async def test_connecting_in_the_middle_of_a_stream_loses_nothing(
    new_user: MakeUser, online: Connect
) -> None:
    """The race between the consumer's look at the routes and a device that comes online."""
    a = await new_user()
    receivers = [await new_user() for _ in range(12)]
    device_a = await online(a)
    each = 100

    async def stream() -> None:
        for i in range(each):
            for b in receivers:
                await device_a.send(type="chat", to=b.user_id, content=str(i))
            await device_a.wait_count("sent", i * len(receivers) + 1)

    async def join(b: User, after: int) -> list[int]:
        await device_a.wait_count("sent", after)
        device = await online(b)
        return [f["seq"] for f in await device.wait_received(each)]

    streaming = asyncio.create_task(stream())
    joining = [join(b, 60 * (i + 1)) for i, b in enumerate(receivers)]
    for seqs in await asyncio.gather(*joining):
        assert seqs == list(range(1, each + 1))
    await streaming


async def test_a_frame_that_is_in_the_list_of_somebody_online_is_sent_within_a_second(
    system: System, new_user: MakeUser, online: Connect
) -> None:
    """However it got there: the gateways look."""
    b = await new_user()
    device = await online(b)
    sent, gone = list[float](), list[float]()
    async with open_redis_of(system) as redis:
        for seq in range(1, 6):
            frame = {"type": "message", "seq": seq, "content": "stranded"}
            stranded_at = time.monotonic()
            await redis.rpush(f"offline:msg:{b.user_id}", json.dumps(frame))
            batches = await device.wait_count("offline", seq)
            sent.append(time.monotonic() - stranded_at)
            assert batches[-1]["frames"] == [frame]
            async with asyncio.timeout(10):
                while await redis.exists(f"offline:msg:{b.user_id}"):
                    await asyncio.sleep(0.01)
            gone.append(time.monotonic() - stranded_at)
            if gone[-1] < 1.0:
                break
    # What else the machine does only ever adds to a time.
    assert (min(sent) < 1.0, min(gone) < 2.0) == (True, True), (sent, gone)
