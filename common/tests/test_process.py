"""A process and its parts, as they start, run and end."""

from __future__ import annotations

import signal
import subprocess
import sys
from textwrap import dedent, indent

import pytest

from im_common.testing.ports import free_port

# What `part` does is put in; it runs beside a main that waits for the end.
PROGRAM = """
import asyncio, os, sys
from pydantic import SecretStr
from im_common.runtime import process
from im_common.runtime.config import Settings
from im_common.runtime.sections import DevServerConf

async def part(resources):
{part}

async def is_ready():
    reader, writer = await asyncio.open_connection("127.0.0.1", settings.dev_server.port)
    writer.write(b"GET /readyz HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1])

async def closed():
    print("closed in order", flush=True)

async def main(settings, resources):
    resources.on_close(closed)
    resources.keep(part(resources), "the part")

    async def begin(address):
        print("started", flush=True)

    async def drain():
        print("drained", await is_ready(), flush=True)

    await process.serve(settings, resources, begin=begin, drain=drain)

settings = Settings(
    name="test", internal_secret=SecretStr("x" * 32), dev_server=DevServerConf(port={port})
)
sys.exit(process.run(settings, main))
"""
FOR_EVER = "await asyncio.Event().wait()"


def start(part: str) -> subprocess.Popen[str]:
    program = PROGRAM.format(part=indent(dedent(part), "    "), port=free_port())
    return subprocess.Popen(
        [sys.executable, "-P", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("raise RuntimeError('a bug of ours')", "RuntimeError: a bug of ours"),
        ("await asyncio.sleep(0)", "a part has ended"),
        ("raise asyncio.CancelledError", "cancelled from inside"),
    ],
)
def test_a_part_that_is_no_more_ends_the_process_in_order(part: str, said: str) -> None:
    with start(part) as process:
        output, _ = process.communicate(timeout=30)
    assert said in output
    assert "the part" in output
    assert "closed in order" in output
    assert process.returncode == 1


def test_a_task_that_a_library_of_ours_runs_beside_is_such_a_part_too() -> None:
    inner = """
    from im_common.runtime.tasks import background
    async def work():
        raise RuntimeError('a bug of ours')
    task = background(work(), "an inner part")
    await asyncio.Event().wait()
    """
    with start(inner) as process:
        output, _ = process.communicate(timeout=30)
    assert "RuntimeError: a bug of ours" in output
    assert "an inner part" in output
    assert "closed in order" in output
    assert process.returncode == 1


@pytest.mark.parametrize("part", [FOR_EVER, "await resources.ending.wait()"])
def test_parts_that_last_end_with_the_process(part: str) -> None:
    with start(part) as process:
        assert process.stdout is not None
        assert any(line == "started\n" for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    # Not ready before what is in hand is finished.
    assert [line for line in output.splitlines() if line in ("drained 503", "closed in order")] == [
        "drained 503",
        "closed in order",
    ]
    assert "part has" not in output
    assert process.returncode == 0


def test_a_thread_that_waits_for_ever_does_not_hold_up_the_end() -> None:
    # As one that asks a name server which says nothing.
    part = """
    import threading
    waiting = asyncio.create_task(asyncio.to_thread(threading.Event().wait))
    await asyncio.Event().wait()
    """
    with start(part) as process:
        assert process.stdout is not None
        assert any(line == "started\n" for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        try:
            output, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    assert "closed in order" in output
    assert "a thread did not end" in output
    assert process.returncode == 0
