"""Each `chat` frame gets exactly one answer: `sent` or `error`."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass

from im_common.errors import AppError, Code
from im_common.frames import error_frame
from ws_gateway.logic.connection import Connection

ANSWER_WITHIN_S = 10.0
RETRY_AFTER_MS = 1000


@dataclass(slots=True)
class _Waiting:
    connection: Connection
    client_msg_id: str
    until: float


class Answers:
    """Who waits for an answer, by the token in the record's origin."""

    def __init__(self) -> None:
        # Starts at the time, so that an answer to an earlier run of this instance finds nobody.
        self._tokens = itertools.count(time.time_ns())
        # In the order of their time limits.
        self._waiting: dict[int, _Waiting] = {}

    def expect(self, connection: Connection, client_msg_id: str) -> int:
        token = next(self._tokens)
        until = time.monotonic() + ANSWER_WITHIN_S
        self._waiting[token] = _Waiting(connection, client_msg_id, until)
        return token

    def settle(self, token: int, frame: bytes) -> None:
        """The answer came; a second one for the same token is dropped."""
        waiting = self._waiting.pop(token, None)
        if waiting is not None:
            waiting.connection.send(frame)

    def give_up(self, token: int) -> None:
        """There will be no answer: the client is told to try again with the same client_msg_id."""
        waiting = self._waiting.pop(token, None)
        if waiting is not None:
            waiting.connection.send(
                error_frame(
                    AppError(
                        Code.UNAVAILABLE,
                        "the message could not be stored in time, send it again",
                        retry_after_ms=RETRY_AFTER_MS,
                    ),
                    waiting.client_msg_id,
                )
            )

    def __len__(self) -> int:
        return len(self._waiting)

    async def expire_forever(self) -> None:
        """Gives up on those who have waited too long."""
        while True:
            await asyncio.sleep(0.5)
            now = time.monotonic()
            while self._waiting:
                token, oldest = next(iter(self._waiting.items()))
                if oldest.until > now:
                    break
                self.give_up(token)
