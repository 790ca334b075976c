"""Plays what a client sends to a connection without a socket, and checks what comes of each frame."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from ws_parts import Log, connection, inbound

from im.chat.v1.record_pb2 import ChatRecord
from im_common.domain import frames
from ws_gateway.logic.connection import BROKEN_PROTOCOL, Connection
from ws_gateway.logic.inbound import MOST_BAD_FRAMES

_NAMED = re.compile(r'"client_msg_id"\s*:\s*"([^"\\]*)"')


class Played:
    """One connection, and what it was sent."""

    def __init__(self) -> None:
        self.connection: Connection = connection(max_queue=100_000)
        self.log = Log()
        self.inbound, self.in_flight = inbound(self.connection, self.log)
        # Frames until the connection was ended.
        self.taken = 0
        self._bad = 0
        self._on_their_way: set[str] = set()

    async def take(self, text: str | bytes) -> None:
        """Raises AssertionError when one frame does what the protocol does not say."""
        if self.connection.ending is not None:
            return
        self.taken += 1
        frame = _decoded(text)
        records, queue = len(self.log.records), len(self.connection.outbox.queue)
        if (producing := self.inbound.handle(text)) is not None:
            await producing
        said = [msgspec.json.decode(item.frame) for item in self.connection.outbox.queue[queue:]]
        self._check(frame, text, said, self.log.records[records:])

    def _check(
        self,
        frame: frames.AnyClientFrame | frames.BadFrame,
        text: str | bytes,
        said: Sequence[dict[str, Any]],
        records: Sequence[bytes],
    ) -> None:
        if isinstance(frame, frames.BadFrame):
            self._bad += 1
            [error] = said
            assert (error["type"], error["code"]) == ("error", "INVALID_ARGUMENT")
            assert error.get("client_msg_id") in _client_msg_ids(text)
            assert not records
        else:
            self._bad = 0
            self._check_good(frame, said, records)
        ended = self.connection.ending
        assert (ended is not None) == (self._bad >= MOST_BAD_FRAMES)
        assert ended is None or ended.code == BROKEN_PROTOCOL

    def _check_good(
        self,
        frame: frames.AnyClientFrame,
        said: Sequence[dict[str, Any]],
        records: Sequence[bytes],
    ) -> None:
        if isinstance(frame, frames.Chat):
            self._check_chat(frame, said, records)
        elif isinstance(frame, frames.Ping):
            assert list(said) == [{"type": "pong"}]
        else:
            assert not records
            assert all(one["type"] == "error" for one in said)
            assert len(said) <= 1

    def _check_chat(
        self, frame: frames.Chat, said: Sequence[dict[str, Any]], records: Sequence[bytes]
    ) -> None:
        """It is on its way, once, or refused, by name."""
        if said:
            [error] = said
            assert (error["type"], error.get("client_msg_id")) == ("error", frame.client_msg_id)
            assert not records
            return
        if not records:
            assert frame.client_msg_id in self._on_their_way
            return
        [record] = records
        content = ChatRecord.FromString(record).message.content
        assert content.content == frame.content
        assert len(frame.content.encode()) <= frames.MAX_CONTENT_BYTES
        if frame.client_msg_id:
            assert content.client_msg_id == frame.client_msg_id
            self._on_their_way.add(frame.client_msg_id)


async def play(texts: Iterable[str | bytes]) -> int:
    """How many of them were taken: none after the end of the connection."""
    played = Played()
    for text in texts:
        await played.take(text)
        # What it asks of others begins.
        await asyncio.sleep(0)
    await played.connection.requests.close()
    return played.taken


def _decoded(text: str | bytes) -> frames.AnyClientFrame | frames.BadFrame:
    if isinstance(text, bytes):
        return frames.BadFrame("a frame must be text", None, None)
    try:
        return frames.decode(text)
    except frames.BadFrame as error:
        return error


def _client_msg_ids(text: str | bytes) -> Sequence[frames.Scalar | None]:
    """What the error may say of which message it was."""
    if isinstance(text, bytes):
        return [None]
    try:
        frame = json.loads(text)
    except RecursionError:
        # Deeper than Python reads: it may be found all the same.
        return [None, *_NAMED.findall(text)]
    except ValueError:
        return [None]
    found = frame.get("client_msg_id") if isinstance(frame, dict) else None
    if isinstance(found, str):
        return [None if any("\ud800" <= letter <= "\udfff" for letter in found) else found]
    if isinstance(found, float):
        return [found if math.isfinite(found) else None]
    # Of 64 bits: true and false, too.
    return [found if isinstance(found, int) and -(2**63) <= found < 2**63 else None]
