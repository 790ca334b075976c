"""Several processes on one address: `Http.Workers`.

The first process listens, starts the workers, starts again who has died, and speaks for all of them on
the operator's port. A worker is what the one process is otherwise: what its requests need it opens for
itself. Its bounds (connections, pictures at once) are its own.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import msgspec
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from api_gateway import admin, server
from api_gateway.config import Settings
from api_gateway.counters import counters_folder
from im_common.runtime import process
from im_common.runtime.backoff import Backoff
from im_common.runtime.dev_server import listening_socket
from im_common.runtime.resources import Resources

log = structlog.get_logger(__name__)

# Descriptors that a worker is started with: the socket on which all listen, and one to the first
# process. The latter carries a line for each question, and its answer: what of the worker fails, as
# JSON. When it closes, the other end is gone.
SOCKETS = "API_GATEWAY_SOCKETS"
FIRST_PAUSE_S = 0.1
MOST_PAUSE_S = 5.0
# A worker that served so long is started again at once.
LASTED_S = 30.0
# Where prometheus_client counts for a process that others look into.
COUNTERS = "PROMETHEUS_MULTIPROC_DIR"
# Beyond its own time to end.
SLACK_S = 2.0


def run(settings: Settings) -> int:
    """Serves until the end is asked for, as one process, as the first of several, or as a worker."""
    if sockets := os.environ.pop(SOCKETS, ""):
        listener, parent = (socket.socket(fileno=int(number)) for number in sockets.split(","))
        # Everybody's address is the first process's alone.
        operator = settings.dev_server.model_copy(update={"host": "127.0.0.1", "port": 0})
        settings = settings.model_copy(update={"dev_server": operator})
        return process.run(settings, partial(_work, listener=listener, parent=parent))
    return process.run(settings, _serve_all if settings.http.workers > 1 else server.serve)


async def _work(
    settings: Settings, resources: Resources, *, listener: socket.socket, parent: socket.socket
) -> None:
    reader, writer = await asyncio.open_connection(sock=parent)

    async def answer() -> None:
        while await reader.readline():
            writer.write(msgspec.json.encode(await resources.dev_server.failing()) + b"\n")
        resources.ending.set()

    resources.keep(answer(), "first process")
    await server.serve(settings, resources, listener=listener)


async def _serve_all(settings: Settings, resources: Resources) -> None:
    with listening_socket(settings.http.listen_on) as listener, counters_folder() as folder:
        workers = [
            Worker(number, listener, folder) for number in range(1, settings.http.workers + 1)
        ]
        resources.dev_server.measures = partial(_measures, folder)
        await admin.mount(settings, resources)
        for worker in workers:
            resources.dev_server.add_check(f"worker {worker.number}", worker.check)
            resources.keep(worker.keep_running(resources.ending), f"worker {worker.number}")

        async def drain() -> None:
            # Else who comes now would wait for an answer that nobody is to give.
            listener.close()
            within_s = settings.grace / 1000 + SLACK_S
            await asyncio.gather(*(worker.stop(within_s) for worker in workers))

        await process.serve(settings, resources, drain=drain)


def _measures(folder: str) -> bytes:
    """What all workers have counted, those that ended included."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


class Worker:
    """A place that a process holds as long as the first one lasts."""

    def __init__(self, number: int, listener: socket.socket, folder: str) -> None:
        """``listener``: what it accepts from; ``folder``: where it counts."""
        self.number = number
        self._listener = listener
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._asked: deque[asyncio.Future[dict[str, str]]] = deque()
        self._over = asyncio.Event()

    async def keep_running(self, ending: asyncio.Event) -> None:
        """Starts it, again and again, until the end is asked for."""
        loop, pauses = asyncio.get_running_loop(), Backoff(FIRST_PAUSE_S, MOST_PAUSE_S)
        while not ending.is_set():
            began = loop.time()
            async with self._started() as running:
                log.info("worker started", worker=self.number, pid=running.pid)
                await self._listen()
                code = await asyncio.to_thread(running.wait)
            mark_process_dead(running.pid, self._folder)  # type: ignore[no-untyped-call]
            if ending.is_set():
                break
            log.error("a worker has ended", worker=self.number, pid=running.pid, code=code)
            if loop.time() - began > LASTED_S:
                pauses.reset()
            with suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), pauses.next_s())
        self._over.set()

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[subprocess.Popen[bytes]]:
        # Whatever the one before was asked, nobody answers any more.
        self._asked.clear()
        ours, its = socket.socketpair()
        with its:
            passed = (self._listener.fileno(), its.fileno())
            environ = {SOCKETS: ",".join(map(str, passed)), COUNTERS: self._folder}
            safe = ["-P"] if sys.flags.safe_path else []
            running = subprocess.Popen(  # noqa: ASYNC220, S603
                [sys.executable, *safe, "-m", "api_gateway", *sys.argv[1:]],
                env=os.environ | environ,
                pass_fds=passed,
            )
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        self._process = running
        try:
            yield running
        finally:
            # It ends by itself when nobody is at the other end.
            self._writer.close()
            self._writer = None

    async def _listen(self) -> None:
        while line := await self._reader.readline():
            answer = self._asked.popleft()
            if not answer.done():
                answer.set_result(msgspec.json.decode(line, type=dict[str, str]))
        while self._asked:
            self._asked.popleft().cancel()

    async def check(self) -> None:
        """Raises ConnectionError unless it is there and ready."""
        if self._writer is None:
            raise ConnectionError("not running")
        answer = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        self._writer.write(b"\n")
        if failing := await answer:
            raise ConnectionError(f"not ready: {', '.join(failing)}")

    async def stop(self, within_s: float) -> None:
        """Asks it to finish what is in hand; ends it when it has not ``within_s`` seconds later."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._over.wait(), within_s)
        except TimeoutError:
            log.warning("a worker did not end in time", worker=self.number)
            self._process.kill()
