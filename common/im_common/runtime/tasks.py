"""Whether a task was told to end."""

from __future__ import annotations

import asyncio


def is_told_to_end() -> bool:
    """Whether somebody has cancelled the current task. A CancelledError without that came from inside:
    from a library that cancelled a call of its own, say."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
