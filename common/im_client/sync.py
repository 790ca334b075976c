"""Asks for what is missing, until nothing is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from im_client.errors import ApiError
from im_client.http import Http
from im_client.parts import Frame, Tasks, Timer, within

# A WebSocket frame holds no more cursors than this; HTTP takes them all.
_FRAME_CURSORS = 1_000
_LIMIT = 200
_ANSWER_S = 15.0
_RETRY_S = 1.0


class _NoAnswer(Exception):
    pass


class Gaps(Protocol):
    """Whose holes they are."""

    def cursors(self) -> dict[str, int]: ...

    async def fill(self, deltas: list[Frame]) -> None: ...

    async def filled(self, number: int) -> bool:
        """The `sync` with this number is done; says whether another one is needed."""
        ...


class Sync:
    def __init__(
        self,
        gaps: Gaps,
        http: Http,
        tasks: Tasks,
        *,
        send: Callable[[Frame], bool],
        on_synced: Callable[[], object],
    ) -> None:
        self._gaps = gaps
        self._http = http
        self._tasks = tasks
        self._send = send
        self._on_synced = on_synced
        self._is_online = False
        self._is_wanted = False
        self._running: asyncio.Task[None] | None = None
        self._answer: asyncio.Future[Frame] | None = None
        self._retry = Timer(self.want)
        # Of the one on its way.
        self.number = 0

    def want(self) -> None:
        self._is_wanted = True
        if self._is_online and self._running is None:
            self._running = self._tasks.spawn(self._run())

    def connected(self, is_online: bool) -> None:
        self._is_online = is_online
        self._retry.clear()
        if self._answer and not self._answer.done():
            self._answer.set_exception(_NoAnswer())
        if is_online:
            self.want()

    def answer(self, frame: Frame) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result(frame)

    async def _run(self) -> None:
        try:
            while self._is_wanted and self._is_online:
                self._is_wanted = False
                await self._round()
        except (_NoAnswer, ApiError, TimeoutError):
            self._is_wanted = True
            if self._is_online:
                self._retry.set(_RETRY_S)
        finally:
            self._running = None

    async def _round(self) -> None:
        self.number += 1
        number = self.number
        has_more = True
        while has_more:
            answer = await self._ask()
            await self._gaps.fill(answer["conversations"])
            has_more = answer["has_more"]
        if await self._gaps.filled(number):
            self._is_wanted = True
        self._on_synced()

    async def _ask(self) -> Frame:
        ask: Frame = {"cursors": self._gaps.cursors(), "limit": _LIMIT}
        if len(ask["cursors"]) > _FRAME_CURSORS:
            answered: Awaitable[Frame] = self._http.post("/v1/sync", ask)
            return await answered
        self._answer = asyncio.get_running_loop().create_future()
        try:
            if not self._send({"type": "sync", **ask}):
                raise _NoAnswer
            return await within(_ANSWER_S, self._answer)
        finally:
            self._answer = None
