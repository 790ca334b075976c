"""Messages to groups over several gateways, while members come and go and processes are killed: who
is removed gets nothing that was stored after it, who is a member everything, once and in order."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from im_instances import one_more
from im_people import Device, Frame, User, make_group, register
from websockets.exceptions import ConnectionClosed, WebSocketException

from im_common.testing.ports import free_port
from im_common.testing.waiting import eventually
from im_local.testing import System

# So often a member is removed and invited again while others write.
ROUNDS = 6


@asynccontextmanager
async def second_gateway(system: System, log: Path) -> AsyncIterator[str]:
    """One more ws-gateway; gives the address for clients."""
    listens, sockets = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    own = {"IM_LISTEN_ON": listens, "IM_WEB_SOCKET__LISTEN_ON": sockets}
    async with one_more(system, "ws-gateway", log, own):
        host, _, port = sockets.rpartition(":")

        async def listens_now() -> bool:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return True
            return False

        await eventually(listens_now, within_s=60)
        yield f"ws://{sockets}/ws/connect"


def _seqs(device: Device) -> list[int]:
    return [frame["seq"] for frame in device.received() if frame["type"] == "message"]


async def _done(answer: httpx.Response) -> None:
    assert answer.status_code in (200, 204), answer.text


async def test_members_at_two_gateways_get_each_message_and_who_is_removed_none(
    system: System, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    owner, bob, eve, away = [await register(http) for _ in range(4)]
    group_id = await make_group(owner, bob, away)
    path = f"/v1/groups/{group_id}/members"
    async with (
        second_gateway(system, tmp_path / "second.log") as other,
        await Device.connect(system.ready.ws, owner) as here,
        await Device.connect(other, owner) as also_here,
        await Device.connect(other, bob) as of_bob,
        await Device.connect(other, eve) as of_eve,
    ):
        assert (await here.ask(group_id=group_id, content="1"))["seq"] == 2
        assert (await of_bob.ask(group_id=group_id, content="2"))["seq"] == 3
        # Eve's gateway learns of it by the push that tells of the change.
        await _done(await owner.request("POST", path, json={"user_ids": [eve.user_id]}))
        assert (await here.ask(group_id=group_id, content="3"))["seq"] == 5
        await _done(await owner.request("DELETE", f"{path}/{bob.user_id}"))
        last = await of_eve.ask(group_id=group_id, content="4")
        assert last["seq"] == 7
        for device, wanted in (
            (here, [3, 4, 6, 7]),
            (also_here, [2, 3, 4, 5, 6, 7]),
            (of_bob, [2, 4, 5]),
            (of_eve, [4, 5, 6]),
        ):
            await device.wait_for(lambda f, w=wanted: f.get("seq") == w[-1])  # type: ignore[misc]
            own = {7} if device is of_eve else {3} if device is of_bob else set()
            messages = [f["seq"] for f in device.of("message") if f["seq"] not in own]
            assert messages == wanted, messages
    async with await Device.connect(system.ready.ws, away) as of_away:
        await of_away.wait_for(lambda f: any(m.get("seq") == 7 for m in f.get("frames", ())))
        assert _seqs(of_away) == list(range(1, 8))


class Member:
    """A device that comes again whenever it is cut off, syncs, and remembers all it got."""

    def __init__(self, system: System, user: User, conversation_id: str) -> None:
        self.user = user
        self.got: dict[int, Frame] = {}
        self._system = system
        self._on = conversation_id
        self._task = asyncio.create_task(self._stay())

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _stay(self) -> None:
        while True:
            with suppress(
                OSError, AssertionError, ConnectionClosed, WebSocketException, TimeoutError
            ):
                async with await Device.connect(self._system.any_ws(), self.user) as device:
                    await self._follow(device)
            await asyncio.sleep(0.1)

    async def _follow(self, device: Device) -> None:
        await device.send(type="sync", cursors={self._on: max(self.got, default=0)}, limit=500)
        for at in itertools.count():
            await device.wait_for(lambda _, n=at: len(device.frames) > n, limit_s=300)  # type: ignore[misc]
            frame = device.frames[at]
            frames = [*frame.get("frames", ()), frame]
            for one in frame.get("conversations", ()):
                frames += one["messages"]
            self.got |= {f["seq"]: f for f in frames if _is_message(f, self._on)}


def _is_message(frame: Frame, conversation_id: str) -> bool:
    """Those of `sync` have no type."""
    kind = frame.get("type", "message")
    return kind == "message" and frame.get("conversation_id") == conversation_id


@pytest.mark.parametrize("name", ["chat-mq", "ws-gateway"])
async def test_who_is_removed_gets_nothing_of_after_it_whatever_is_killed(
    system: System, http: httpx.AsyncClient, name: str
) -> None:
    owner, stays, comes = [await register(http) for _ in range(3)]
    group_id = await make_group(owner, stays, comes)
    conversation_id = f"g:{group_id}"
    members = [Member(system, user, conversation_id) for user in (stays, comes)]
    written: list[int] = []
    ended = asyncio.Event()

    async def write_one() -> bool:
        body = {"group_id": group_id, "content": "x", "client_msg_id": secrets.token_hex(8)}
        with suppress(httpx.HTTPError):
            answer = await owner.request("POST", "/v1/messages", json=body)
            if answer.status_code == 201:
                written.append(answer.json()["seq"])
                return True
        return False

    async def write() -> None:
        while not ended.is_set():
            await write_one()

    async def change(method: str, path: str, **more: object) -> None:
        async def is_done() -> bool:
            with suppress(httpx.HTTPError):
                answer = await owner.request(method, path, **more)
                return answer.status_code in (200, 204, 404)
            return False

        await eventually(is_done, within_s=60)
        before = len(written)
        await eventually(lambda: len(written) > before, within_s=60)

    writing = [asyncio.create_task(write()) for _ in range(3)]
    path = f"/v1/groups/{group_id}/members"
    for number in range(ROUNDS):
        await change("DELETE", f"{path}/{comes.user_id}")
        if number % 2 == 0:
            system.kill(name)
            await asyncio.to_thread(system.wait_ready, name)
        await change("POST", path, json={"user_ids": [comes.user_id]})
    await change("DELETE", f"{path}/{comes.user_id}")
    ended.set()
    await asyncio.gather(*writing)
    # Comes after all that was said before it.
    await eventually(write_one, within_s=60)
    history = await owner.history(conversation_id)
    everything = [message["seq"] for message in history]
    assert everything == list(range(1, len(everything) + 1))
    assert set(written) <= set(everything)
    moves = [said["event"] for said in _moves(history, comes.user_id)]
    assert moves == ["member_removed", "members_added"] * ROUNDS + ["member_removed"]
    with suppress(AssertionError):
        await eventually(lambda: sorted(members[0].got) == everything, within_s=60)
    assert sorted(members[0].got) == everything
    allowed = _while_a_member(history, comes.user_id)
    assert set(members[1].got) <= allowed, sorted(set(members[1].got) - allowed)
    for member in members:
        await member.close()
    seen = {message["seq"] for message in await comes.history(conversation_id)}
    assert seen <= allowed


def _moves(history: list[Frame], user_id: int) -> list[Frame]:
    """What the system said of this one's coming and going."""
    told = [message.get("ext") or {} for message in history]
    return [
        said
        for said in told
        if (said.get("event") == "member_removed" and said["user_id"] == user_id)
        or (said.get("event") == "members_added" and user_id in said["user_ids"])
    ]


def _while_a_member(history: list[Frame], user_id: int) -> set[int]:
    """The places that the user may ever have seen, by what the system said."""
    allowed, is_member = set[int](), True
    for message in history:
        for said in _moves([message], user_id):
            is_member = said["event"] == "members_added"
        if is_member:
            allowed.add(message["seq"])
    return allowed
