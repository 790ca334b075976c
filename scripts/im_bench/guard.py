"""Whether a full load still costs what it did: messages a second beside the rows a second that the same
database takes from one connection, and the CPU of a message beside that of a fixed piece of work.

Both are ratios within this run, as the speed of a machine says nothing alone. A clear fall fails.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import statistics
import time

from im_bench import floors, messages
from im_bench.options import add_seconds
from im_bench.report import Failed, Row, figures
from im_local.infra_file import read_infra
from im_local.testing import Ready

RAW_S = 2.0
# Far beyond what runs of one version differ by (docs/performance.md), so that only a clear fall fails.
LEAST_OF_ROWS = {"sqlite": 0.03, "mysql": 0.05}
MOST_OF_WORK = 60.0
_FRAME = {"type": "chat", "to": 7, "client_msg_id": "b-00000001", "content": "x" * 64, "seq": 1}


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)


def longest_s(options: argparse.Namespace) -> float:
    return float(options.seconds) + 4 * RAW_S


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    infra = read_infra(options.infra) if options.infra else None
    kind = "sqlite" if infra is None else "mysql"
    load = messages.load("--seconds", str(options.seconds))
    work = [_work_ms()]
    raw = [await floors.rows_a_second(RAW_S, ready, infra)]
    rows = await messages.run(load, ready)
    await asyncio.sleep(1.0)
    work.append(_work_ms())
    raw.append(await floors.rows_a_second(RAW_S, ready, infra))
    found = figures(rows)
    each = "ms CPU each 1,000"
    ours = found[f"processes: {each}"] - found[f"load generator: {each}"]
    judged = [
        ("rows alone", ", ".join(f"{rate:.0f} a second" for rate in raw)),
        ("work alone", ", ".join(f"{spent:.2f} ms" for spent in work)),
        *verdict(
            of_rows=found["delivered: a second"] / statistics.mean(raw),
            least=LEAST_OF_ROWS[kind],
            of_work=ours / statistics.mean(work),
        ),
    ]
    return [*rows, *judged]


def verdict(*, of_rows: float, least: float, of_work: float) -> list[Row]:
    """Messages a second to rows a second, at least ``least``, and the CPU of 1,000 messages to that of
    the work. Raises Failed, with both, when one is past its limit."""
    told = [
        ("messages to rows", f"{of_rows:.3f} (at least {least})"),
        ("CPU of 1,000 messages to work", f"{of_work:.1f} (at most {MOST_OF_WORK})"),
    ]
    if of_rows < least or of_work > MOST_OF_WORK:
        said = "; ".join(f"{name}: {value}" for name, value in told)
        raise Failed(f"a message costs clearly more than it did. {said}")
    return told


def _work_ms() -> float:
    """The CPU (ms) of reading, changing, ordering and writing a thousand small frames; of ten times the
    median."""
    text = json.dumps(_FRAME)
    spent = []
    for _ in range(10):
        began = time.process_time()
        waiting: list[tuple[int, str]] = []
        for number in range(1000):
            frame = json.loads(text)
            frame["seq"] = number * 7919 % 1000
            heapq.heappush(waiting, (frame["seq"], json.dumps(frame)))
        while waiting:
            heapq.heappop(waiting)
        spent.append((time.process_time() - began) * 1e3)
    return statistics.median(spent)
