"""Commands of many callers over one connection of redis-py.

A client of redis-py lends each command a connection, and where there is a time limit it sends it in a
task of its own with timers around it: most of what a small command costs. Here commands are written at
once, in the order in which they were asked, and one task reads the answers, which come in that order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.connection import HiredisRespSerializer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from im_common.runtime import tasks
from im_common.runtime.faults import report

Command = Sequence[Any]

# Of the connections of redis-py only those that block pack by hiredis: in a third of the time.
_PACKER: Any = HiredisRespSerializer()
# An answer that came while this process stood still is read before it counts as late.
_GRACE_S = 0.1


@dataclass(slots=True, eq=False)
class _Asked:
    count: int
    # In seconds of the event loop.
    until: float
    future: asyncio.Future[list[Any]]
    answers: list[Any] = field(default_factory=list)


class Lane:
    """Connects when it is first used, and anew when its connection broke."""

    def __init__(self, make: Callable[[], AbstractConnection], timeout_s: float) -> None:
        """``make`` gives a connection without a time limit of its own; ``timeout_s`` bounds a connect
        and an answer."""
        self._make = make
        self._timeout_s = timeout_s
        self._line: _Line | None = None
        self._opening: asyncio.Task[_Line] | None = None
        self._is_closed = False

    async def ask(self, commands: Sequence[Command], *, tries: int = 1) -> list[Any]:
        """The answer to each, an error of Redis among them as it is. Raises redis.exceptions.
        ConnectionError or TimeoutError: then nothing is known of what was done. Who is cancelled has
        asked all the same."""
        while True:
            tries -= 1
            try:
                line = self._line
                if line is None or line.error is not None:
                    line = await self._open()
                return await line.ask(commands)
            except (RedisConnectionError, RedisTimeoutError):
                if tries <= 0:
                    raise

    async def close(self) -> None:
        """Who waits is told; nothing is asked any more."""
        self._is_closed = True
        await self.drop()

    async def drop(self) -> None:
        """Who waits is told; who asks from now on has a new connection."""
        await tasks.end(self._opening)
        if self._line is not None:
            await self._line.close()

    async def _open(self) -> _Line:
        """One for all who want it now."""
        if self._is_closed:
            raise RedisConnectionError("the client was closed")
        if self._opening is None:
            self._opening = asyncio.create_task(self._connect(), name="redis-connect")
            self._opening.add_done_callback(self._opened)
        opening = self._opening
        await asyncio.wait([opening])
        if opening.cancelled():
            raise RedisConnectionError("the client was closed")
        return opening.result()

    def _opened(self, opening: asyncio.Task[_Line]) -> None:
        self._opening = None
        # Who waited for it has its error, if anybody did.
        if not opening.cancelled() and opening.exception() is None:
            self._line = opening.result()

    async def _connect(self) -> _Line:
        connection = self._make()
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]
        except TimeoutError:
            await connection.disconnect(nowait=True)
            raise RedisTimeoutError("Redis did not greet in time") from None
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return _Line(connection, self._timeout_s)


class _Line:
    """A connection, and who waits for its answers."""

    def __init__(self, connection: AbstractConnection, timeout_s: float) -> None:
        # Why nothing can be asked any more.
        self.error: Exception | None = None
        self._connection = connection
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Asked] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._reading = asyncio.create_task(self._read(), name="redis-read")

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        if self.error is not None:
            raise self.error
        connection = self._connection
        # First: what cannot be written is asked of nobody.
        packed = [part for command in commands for part in _PACKER.pack(*command)]
        asked = _Asked(
            len(commands), self._loop.time() + self._timeout_s, self._loop.create_future()
        )
        self._waiting.append(asked)
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._look)
        try:
            # It writes before it waits for anything.
            await connection.send_packed_command(packed, check_health=False)
        except BaseException as error:
            self._break(error)
            asked.future.exception()
            raise
        return await asked.future

    async def close(self) -> None:
        self._break(RedisConnectionError("the connection was closed"))
        await tasks.end(self._reading)

    async def _read(self) -> None:
        try:
            while True:
                try:
                    answer = await self._connection.read_response(disconnect_on_error=False)
                except ResponseError as error:
                    answer = error
                if not self._waiting:
                    raise RedisConnectionError(f"nobody asked for this: {answer!r}")
                asked = self._waiting[0]
                asked.answers.append(answer)
                if len(asked.answers) == asked.count:
                    self._waiting.popleft()
                    if not asked.future.done():
                        asked.future.set_result(asked.answers)
        except (RedisError, OSError) as error:
            self._break(error)
        except Exception as error:
            report(error, "an answer of Redis cannot be read")
            self._break(error)
        finally:
            await self._connection.disconnect(nowait=True)

    def _look(self, *, again: bool = False) -> None:
        """Whether somebody has waited too long."""
        self._timer = None
        if not self._waiting:
            return
        late_s = self._loop.time() - self._waiting[0].until
        if late_s < 0:
            self._timer = self._loop.call_later(-late_s, self._look)
        elif not again:
            self._timer = self._loop.call_later(_GRACE_S, lambda: self._look(again=True))
        else:
            self._break(RedisTimeoutError("Redis did not answer in time"))
            self._reading.cancel()

    def _break(self, error: BaseException) -> None:
        """All who wait are told."""
        kind = RedisTimeoutError if isinstance(error, RedisTimeoutError) else RedisConnectionError
        if self.error is None:
            self.error = kind(f"the connection broke: {error}")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            asked = self._waiting.popleft()
            if not asked.future.done():
                asked.future.set_exception(kind(str(self.error)))
