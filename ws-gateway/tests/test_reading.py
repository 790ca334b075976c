"""Frames of one client after the other, where something holds one up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from ws_server import Gateway, gateway, redis, valkey

from im.chat.v1.record_pb2 import ChatRecord
from im_common.bus import Settled
from im_common.testing.waiting import eventually

__all__ = ["gateway", "redis", "valkey"]


class FullLog:
    """A bus whose buffer is full: who hands over a record waits for ``room``."""

    def __init__(self) -> None:
        self.contents: list[str] = []
        self.room = asyncio.Event()

    def put(
        self, _t: str, _k: bytes, value: bytes, *_: Any, settled: Settled, **__: Any
    ) -> Awaitable[Any]:
        self.contents.append(ChatRecord.FromString(value).message.content.content)
        settled(None)
        return self.room.wait()


def _chat(content: str) -> str:
    return f'{{"type":"chat","to":8,"content":"{content}","client_msg_id":"{content}"}}'


async def _ping(client: ClientConnection) -> None:
    """The first frame is read in another way than those after it."""
    await client.send('{"type":"ping"}')
    assert msgspec.json.decode(await client.recv()) == {"type": "pong"}


async def test_a_message_that_waits_for_room_holds_up_what_its_client_sends_after_it(
    gateway: Gateway,
) -> None:
    log: Any = FullLog()
    gateway.svc.producer = log
    async with gateway.user(7) as client, gateway.user(9) as other:
        await _ping(client)
        for frame in (_chat("1"), _chat("2"), '{"type":"ping"}'):
            await client.send(frame)
        await eventually(lambda: log.contents == ["1"])
        # Of nobody else.
        await _ping(other)
        assert log.contents == ["1"]
        log.room.set()
        assert msgspec.json.decode(await client.recv()) == {"type": "pong"}
        assert log.contents == ["1", "2"]
        await client.send(_chat("3"))
        await eventually(lambda: log.contents == ["1", "2", "3"])


async def test_a_fault_of_ours_in_a_frame_ends_its_connection_and_no_other(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    async with gateway.user(7) as client, gateway.user(9) as other:
        await _ping(client)
        monkeypatch.setattr(gateway.svc.relay, "typing", fail)
        await client.send('{"type":"typing","to":9}')
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "try again elsewhere")
        await _ping(other)
