"""Small things that the other modules share."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Frame = dict[str, Any]
log = logging.getLogger("im_client")


def random_id() -> str:
    return secrets.token_hex(16)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def within(seconds: float, work: Awaitable[T]) -> T:
    """Raises TimeoutError. Until Python 3.12 asyncio.wait_for loses a cancellation that comes with the
    answer, and whoever waits for the end then waits for ever."""
    async with asyncio.timeout(seconds):
        return await work


def user_conversation(a: int, b: int) -> str:
    return f"s:{min(a, b)}:{max(a, b)}"


def group_conversation(group_id: int) -> str:
    return f"g:{group_id}"


def target_of(conversation_id: str, me: int) -> dict[str, int]:
    """Where a message to the conversation goes: `to` or `group_id`. Raises ValueError."""
    match conversation_id.split(":"):
        case ["g", group_id]:
            return {"group_id": int(group_id)}
        case ["s", first, second]:
            return {"to": int(second) if int(first) == me else int(first)}
    raise ValueError(f"{conversation_id!r} is no conversation_id")


class Signal(Generic[T]):
    """Something that happens; who listens is called with it, at once. A listener that raises is
    logged, and does not keep the others from hearing."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[T], object]] = []

    def __call__(self, listener: Callable[[T], object]) -> Callable[[], None]:
        """Gives what ends the listening."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def emit(self, value: T) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(value)
            except Exception:
                log.exception("a listener failed")


class Turns:
    """One task after the other. One that was asked for is finished, also when who asked is cancelled:
    what is in memory and what is stored do not come apart."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def take(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(self._alone(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def idle(self) -> None:
        """When everything that was asked for until now is done."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _alone(self, work: Coroutine[Any, Any, T]) -> T:
        async with self._lock:
            return await work


class Timer:
    """Calls back once after some seconds, unless it is set again or cleared."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        return self._handle is not None

    def set(self, delay_s: float) -> None:
        self.clear()
        self._handle = asyncio.get_running_loop().call_later(delay_s, self._fire)

    def clear(self) -> None:
        if self._handle:
            self._handle.cancel()
        self._handle = None

    def _fire(self) -> None:
        self._handle = None
        self._call()


class Tasks:
    """Work that goes on beside; ``on_failure`` hears of what it raises."""

    def __init__(self, on_failure: Callable[[BaseException], object]) -> None:
        self._on_failure = on_failure
        self._running: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def cancel(self) -> None:
        for task in self._running:
            task.cancel()

    async def close(self) -> None:
        self.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._on_failure(error)
