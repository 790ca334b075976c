"""Starts the processes of the system, keeps them running, and ends them in order."""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

from im_local.console import Say
from im_local.errors import LocalError
from im_local.keeper import PAUSES_S, Keeper
from im_local.process import Process, Stage

READY_LIMIT_S = 60.0
# Seconds for one stage to end by itself, and by when after the begin of the end each is over.
STAGE_LIMIT_S = 4.0
STAGE_OVER_S = {Stage.GATEWAY: 3.5, Stage.SERVICE: 7.0, Stage.SERVER: 8.5}


class Supervisor:
    """Owns the children. `changed` is called whenever a pid is new."""

    def __init__(
        self,
        *,
        log_of: Callable[[str], Path],
        say: Say,
        changed: Callable[[], None] = lambda: None,
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self._log_of = log_of
        self._say = say
        self._changed = changed
        self._pauses_s = pauses_s
        self._keepers: dict[str, Keeper] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def pids(self) -> dict[str, int]:
        """The pid of each process; of one that is being restarted, its last."""
        return {name: keeper.child.pid for name, keeper in self._keepers.items() if keeper.child}

    async def start(
        self,
        processes: list[Process],
        envs: dict[str, dict[str, str]],
        *,
        limit_s: float = READY_LIMIT_S,
    ) -> None:
        """Start all at once and return when each is ready.

        Raises LocalError, with the end of a log, when one does not become ready within the limit.
        """
        added = [self._keep(process, envs[process.name]) for process in processes]
        tasks = [self._tasks[keeper.process.name] for keeper in added]
        ready = asyncio.create_task(_all_ready(added))
        try:
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait([ready, *tasks], timeout=limit_s, return_when=first)
            if ready.done():
                return
        finally:
            ready.cancel()
        for task in tasks:
            if task.done():
                task.result()
        late = [keeper for keeper in added if not keeper.was_ready.is_set()]
        names = ", ".join(keeper.process.name for keeper in late[1:])
        also = f" (nor were {names})" if names else ""
        raise late[0].failure(f"was not ready within {limit_s:g} s{also}")

    async def broken(self) -> None:
        """Return never, or raise when keeping a process running itself failed."""
        for done in asyncio.as_completed(self._tasks.values()):
            await done
        raise LocalError("nothing is left to keep running")

    async def stop(self) -> None:
        """End the gateways, then the services, then the servers; what does not go is killed."""
        await self._stop_keeping()
        begin = time.monotonic()
        for stage in sorted(Stage, reverse=True):
            limit = min(STAGE_LIMIT_S, begin + STAGE_OVER_S[stage] - time.monotonic())
            await self._stop_stage(stage, limit)

    def kill(self) -> None:
        """End everything at once."""
        for keeper in self._keepers.values():
            if keeper.child:
                keeper.child.send(signal.SIGKILL)

    def _keep(self, process: Process, env: dict[str, str]) -> Keeper:
        keeper = Keeper(
            process,
            env=env,
            log=self._log_of(process.name),
            say=self._say,
            changed=self._changed,
            pauses_s=self._pauses_s,
        )
        self._keepers[process.name] = keeper
        self._tasks[process.name] = asyncio.create_task(keeper.run(), name=process.name)
        return keeper

    async def _stop_keeping(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _stop_stage(self, stage: Stage, limit_s: float) -> None:
        keepers = [k for k in self._keepers.values() if k.process.stage == stage]
        children = {k.process.name: k.child for k in keepers if k.child and k.child.alive}
        if not children:
            return
        for child in children.values():
            child.send(signal.SIGTERM)
        exits = [asyncio.ensure_future(child.exited()) for child in children.values()]
        await asyncio.wait(exits, timeout=limit_s)
        slow = [name for name, child in children.items() if child.alive]
        if slow:
            self._say(f"killing what does not end: {', '.join(slow)}")
            for child in children.values():
                child.send(signal.SIGKILL)
        await asyncio.gather(*exits)


async def _all_ready(keepers: list[Keeper]) -> None:
    for keeper in keepers:
        await keeper.was_ready.wait()
