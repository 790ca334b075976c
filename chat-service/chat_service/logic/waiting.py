"""Calls that wait for the outcome of their message.

The record carries this instance's address and a token; the consumer answers to both.
"""

from __future__ import annotations

import asyncio
import itertools
import time

from im_common.errors import AppError, unavailable
from im_common.frames import Recalled, Sent, decode_answer

Answer = Sent | Recalled


class Waiting:
    def __init__(self) -> None:
        # host:port of this instance, known once it listens.
        self.address = ""
        # Starts at the time, so that an answer to an earlier run of this instance finds nobody.
        self._tokens = itertools.count(time.time_ns())
        self._futures: dict[int, asyncio.Future[Answer]] = {}

    def open(self) -> tuple[int, asyncio.Future[Answer]]:
        """A token and what becomes of it; ``close`` it in the end."""
        token = next(self._tokens)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._futures[token] = future
        return token, future

    def close(self, token: int) -> None:
        self._futures.pop(token, None)

    def settle(self, token: int, frame: bytes) -> None:
        """An answer came: a `sent`, a `recalled` or an `error` frame."""
        future = self._futures.pop(token, None)
        if future is None or future.done():
            return
        answer = decode_answer(frame)
        if isinstance(answer, AppError):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    async def outcome(self, future: asyncio.Future[Answer], timeout_s: float) -> Answer:
        """Raises AppError: the refusal, or UNAVAILABLE when there is no answer in time."""
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise unavailable("it was not done in time, try again") from None
