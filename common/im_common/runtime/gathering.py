"""One call for many callers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")


class Gathered(Generic[ItemT, AnswerT]):
    """Asks for what came while it was asking before, all together: who comes alone waits for nobody,
    and where thousands come at once they share a few calls, which cost little more than one of theirs.

    A call that fails fails for all who share it.
    """

    def __init__(
        self, call: Callable[[Sequence[ItemT]], Awaitable[Sequence[AnswerT]]], *, most: int = 500
    ) -> None:
        """``call`` gives an answer for each of at most ``most`` items, in their order."""
        self._call = call
        self._most = most
        self._waiting: list[tuple[ItemT, asyncio.Future[AnswerT]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def __call__(self, item: ItemT) -> AnswerT:
        """The answer for one. Raises what the call raises."""
        answer: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="gathered")
        return await answer

    async def _ask(self) -> None:
        try:
            while self._waiting:
                some, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._ask_for([one for one in some if not one[1].done()])
        finally:
            self._asking = None

    async def _ask_for(self, some: Sequence[tuple[ItemT, asyncio.Future[AnswerT]]]) -> None:
        if not some:
            return
        try:
            answers = await self._call([item for item, _ in some])
        except asyncio.CancelledError:
            for _, waiting in some:
                waiting.cancel()
            raise
        except Exception as error:
            for _, waiting in some:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for (_, waiting), answer in zip(some, answers, strict=True):
            if not waiting.done():
                waiting.set_result(answer)
