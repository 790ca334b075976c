"""A call that waits for the outcome of its message."""

from __future__ import annotations

import asyncio

from im_common.domain.frames import Recalled, Sent, decode_answer
from im_common.errors import AppError, unavailable

Answer = Sent | Recalled


class WaitingCall:
    """Its record carries this instance's address and a token, by which the consumer answers."""

    def __init__(self) -> None:
        self._future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def take(self, frame: bytes) -> None:
        """An answer came: a `sent`, a `recalled` or an `error` frame."""
        if self._future.done():
            return
        answer = decode_answer(frame)
        if isinstance(answer, AppError):
            self._future.set_exception(answer)
            # A caller that has gone leaves no "never retrieved" in the log.
            self._future.exception()
        else:
            self._future.set_result(answer)

    async def outcome(self, timeout_s: float) -> Answer:
        """Raises AppError: the refusal, or UNAVAILABLE when there is no answer in time."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._future
        except TimeoutError:
            raise unavailable("it was not done in time, try again") from None
