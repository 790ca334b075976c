"""A Redis client that measures what it asks for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
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
        return _TimedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )


class _TimedPipeline(Pipeline):
    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        with timed("pipeline"):
            return await super().execute(raise_on_error)


@contextmanager
def timed(command: Any) -> Iterator[None]:
    """Measures the block as a command of this name, and tells it to a trace."""
    began = time.monotonic()
    try:
        with tracing.inside(f"redis {command}"):
            yield
    finally:
        _of(command).observe(time.monotonic() - began)


def _of(command: Any) -> Histogram:
    found = _COMMANDS.get(command)
    if found is None:
        found = _COMMANDS[command] = metrics.REDIS.labels(str(command).partition(" ")[0].lower())
    return found
