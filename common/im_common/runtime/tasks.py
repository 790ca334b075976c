"""Background tasks with an owner, and whether a task was told to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from im_common.runtime import metrics

log = structlog.get_logger(__name__)

_CANCEL_AGAIN_S = 0.2
# What a failure does besides its traceback: in a process of ours it ends the process, in order.
_then: Callable[[str], None] = lambda _: None  # noqa: E731


def on_failure(then: Callable[[str], None]) -> None:
    """``then`` is told the name of each task of ``background`` that fails."""
    global _then
    _then = then


def background(
    work: Coroutine[Any, Any, None], name: str, *, may_return: Callable[[], bool] = lambda: False
) -> asyncio.Task[None]:
    """Runs ``work`` until its owner cancels the task. One that ends in another way, by a bug, ends the
    process. The task never raises, but when it was cancelled; ``may_return`` says whether it may just
    be done by now."""
    return asyncio.create_task(_watch(work, name, may_return), name=name)


async def _watch(
    work: Coroutine[Any, Any, None], name: str, may_return: Callable[[], bool]
) -> None:
    try:
        await work
        if may_return():
            return
        log.error("a part has ended, and the process with it", part=name)
    except asyncio.CancelledError:
        if is_told_to_end():
            raise
        log.exception("a part was cancelled from inside, and the process ends", part=name)
    except Exception:
        log.exception("a part has failed, and the process ends with it", part=name)
    metrics.FAULTS.labels(name).inc()
    _then(name)


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancels tasks, and returns when they are done; never raises."""
    pending = {task for task in tasks if task is not None and not task.done()}
    while pending:
        for task in pending:
            # More than once: before Python 3.12 a call of Redis that is being sent swallows it.
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)


def is_told_to_end() -> bool:
    """Whether somebody has cancelled the current task. A CancelledError without that came from inside:
    from a library that cancelled a call of its own, say."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
