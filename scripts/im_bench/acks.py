"""Receivers say what they have, as applications do: of each conversation the newest message, and that
no more often than once in a while. It costs the backend a cursor in the database and a `receipt` to the
sender, so that no figure is without it."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from im_bench.options import whole
from im_bench.websocket import text_frame

# The receivers do it in turns.
_SLICES = 20


def add_acks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--acks",
        type=whole(0),
        default=1,
        help="most of each receiver and conversation, a second; 0 for none",
    )


def ack_frame(conversation_id: bytes, seq: int) -> bytes:
    body = b'{"type":"ack","conversation_id":"%s","seq":%d}'
    return text_frame(body % (conversation_id, seq))


@asynccontextmanager
async def acknowledging(rate: int, receivers: Sequence[Callable[[], None]]) -> AsyncIterator[None]:
    """In the block each of the receivers is called so often a second, to send what it has to say."""
    task = asyncio.create_task(keep_acknowledging(rate, receivers)) if rate else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def keep_acknowledging(rate: int, receivers: Sequence[Callable[[], None]]) -> None:
    """Calls each of them so often a second, for ever."""
    while True:
        for number in range(_SLICES):
            await asyncio.sleep(1 / rate / _SLICES)
            for acknowledge in receivers[number::_SLICES]:
                acknowledge()
