"""Keeps one process running: started, known to be ready, and started again when it dies."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from im_local import probes
from im_local.console import Say
from im_local.errors import LocalError
from im_local.files import tail
from im_local.process import Child, Process, describe_exit

PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
STEADY_AFTER_S = 30.0
TRIES_BEFORE_READY = 3


class Keeper:
    """Runs `process` for ever. `changed` is called at each start, when the pid is new."""

    def __init__(
        self,
        process: Process,
        *,
        env: dict[str, str],
        log: Path,
        say: Say,
        changed: Callable[[], None],
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self.process = process
        self.child: Child | None = None
        # Set when it was ready for the first time.
        self.was_ready = asyncio.Event()
        self.log = log
        self._env = env
        self._say = say
        self._changed = changed
        self._pauses_s = pauses_s

    async def run(self) -> None:
        """Until cancelled, which leaves the child as it is.

        Raises LocalError when the process keeps ending before it was ready even once.
        """
        deaths = 0
        while True:
            started = time.monotonic()
            ending = await self._run_once()
            if time.monotonic() - started > STEADY_AFTER_S:
                deaths = 0
            deaths += 1
            if not self.was_ready.is_set() and deaths >= TRIES_BEFORE_READY:
                raise self.failure(f"ended {deaths} times before it was ready ({ending})")
            pause = self._pauses_s[min(deaths, len(self._pauses_s)) - 1]
            self._say(f"{self.process.name} ended ({ending}); starting it again in {pause:g} s")
            await asyncio.sleep(pause)

    def failure(self, what: str) -> LocalError:
        """An error that shows the end of the log."""
        name = self.process.name
        return LocalError(f"{name} {what}; the end of {self.log}:\n{tail(self.log)}")

    async def _run_once(self) -> str:
        try:
            child = Child.start(self.process, self._env, self.log)
        except OSError as error:
            return str(error)
        self.child = child
        self._changed()
        announcing = asyncio.create_task(self._announce(child))
        try:
            return describe_exit(await child.exited())
        finally:
            announcing.cancel()

    async def _announce(self, child: Child) -> None:
        started = time.monotonic()
        await probes.wait_until(self.process.probe)
        # An answer counts only when it can be the child's own.
        if child.alive:
            ports = "  ".join(f"{what} {port}" for what, port in self.process.ports.items())
            took = time.monotonic() - started
            self._say(f"{self.process.name:<12} ready after {took:4.1f} s   {ports}")
            self.was_ready.set()
