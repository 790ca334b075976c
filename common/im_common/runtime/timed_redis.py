"""A Redis client that measures what it asks for."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Any

from prometheus_client import Histogram
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from im_common.runtime import metrics, tracing

_COMMANDS: dict[Any, Histogram] = {}


class TimedRedis(Redis):
    """``im_redis_seconds`` has each command by its name, and each pipeline as one; what fails, too, and
    the wait for a connection."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        with timed(args[0]):
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        return TimedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class TimedPipeline(Pipeline):
    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        with timed("pipeline"):
            return await super().execute(raise_on_error)


class timed:
    """Measures the block as a command of this name, and tells it to a trace."""

    __slots__ = ("_began", "_command", "_span")

    def __init__(self, command: Any) -> None:
        self._command = command
        self._span: AbstractContextManager[Any] | None = None

    def __enter__(self) -> None:
        self._began = time.monotonic()
        if tracing.maker is not None:
            self._span = tracing.inside(f"redis {self._command}")
            self._span.__enter__()

    def __exit__(self, *error: Any) -> None:
        _of(self._command).observe(time.monotonic() - self._began)
        if self._span is not None:
            self._span.__exit__(*error)


def _of(command: Any) -> Histogram:
    found = _COMMANDS.get(command)
    if found is None:
        found = _COMMANDS[command] = metrics.REDIS.labels(str(command).partition(" ")[0].lower())
    return found
