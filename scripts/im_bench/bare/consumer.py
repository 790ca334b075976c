"""`python -m im_bench.bare.consumer SERVERS GATEWAY`: takes what is on the log, gives it places, stores
and pushes it. It says when it is ready, and ends with its input."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import grpc
import msgspec
import uvloop

from im_bench.bare import log
from im_bench.bare.parts import METHOD, Push, Record, Servers
from im_bench.bare.store import Store, store
from im_common.domain import frames

Placed = tuple[Record, int]
_records = msgspec.msgpack.Decoder(Record)
_push = msgspec.msgpack.Encoder()


async def _work(reader: log.Reader, rows: Store, stream: Any) -> None:
    """A batch is pushed while the next one is stored."""
    last_seqs: dict[str, int] = defaultdict(int)
    pushing: asyncio.Task[None] | None = None
    while True:
        placed: list[Placed] = []
        for value in await reader.read():
            record = _records.decode(value)
            last_seqs[record.conversation_id] += 1
            placed.append((record, last_seqs[record.conversation_id]))
        if placed:
            await rows.put([_row(record, seq) for record, seq in placed])
            if pushing is not None:
                await pushing
            pushing = asyncio.create_task(_deliver(stream, placed))


def _row(record: Record, seq: int) -> Sequence[Any]:
    return (
        record.conversation_id,
        seq,
        record.message_id,
        record.sender_id,
        record.client_msg_id,
        record.content,
        record.timestamp,
    )


async def _deliver(stream: Any, placed: Sequence[Placed]) -> None:
    push = Push([], [])
    for record, seq in placed:
        push.answers.append((record.token, frames.encode(_sent(record, seq))))
        push.frames.append((record.to, frames.encode(_message(record, seq))))
    await stream.write(_push.encode(push))
    await stream.read()


def _sent(record: Record, seq: int) -> frames.Sent:
    return frames.Sent(
        client_msg_id=record.client_msg_id,
        message_id=record.message_id,
        conversation_id=record.conversation_id,
        seq=seq,
        timestamp=record.timestamp,
    )


def _message(record: Record, seq: int) -> frames.Message:
    return frames.Message(
        message_id=record.message_id,
        conversation_id=record.conversation_id,
        seq=seq,
        from_=record.sender_id,
        to=record.to,
        content_type="text",
        content=record.content,
        timestamp=record.timestamp,
    )


async def _serve(servers: Servers, gateway: str) -> None:
    async with (
        log.reader(servers) as reader,
        store(servers) as rows,
        grpc.aio.insecure_channel(gateway) as channel,
    ):
        method: Any = channel.stream_stream(METHOD)
        working = asyncio.create_task(_work(reader, rows, method()))
        ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        gc.freeze()
        print("ready", flush=True)
        await asyncio.wait({working, ended}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        working.cancel()


if __name__ == "__main__":
    uvloop.run(_serve(msgspec.json.decode(sys.argv[1], type=Servers), sys.argv[2]))
