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
# Medians of many runs, quiet and loaded, are in docs/performance.md; the limits leave a third and more.
LEAST_OF_RAW = {"sqlite": 0.05, "mysql": 0.1}
MOST_OF_WORK = 100.0
_FRAME = {"type": "chat", "to": 7, "client_msg_id": "b-00000001", "content": "x" * 64, "seq": 1}


def add_options(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)


def longest_s(options: argparse.Namespace) -> float:
    return float(options.seconds) + 4 * RAW_S


async def run(options: argparse.Namespace, ready: Ready) -> list[Row]:
    infra = read_infra(options.infra) if options.infra else None
    kind = "sqlite" if infra is None else "mysql"
    loaded = argparse.ArgumentParser()
    messages.add_options(loaded)
    load = loaded.parse_args(["--seconds", str(options.seconds)])
    work = [_work_ms()]
    raw = [await floors.rows_a_second(RAW_S, ready, infra)]
    rows = await messages.run(load, ready)
    await asyncio.sleep(1.0)
    work.append(_work_ms())
    raw.append(await floors.rows_a_second(RAW_S, ready, infra))
    found = figures(rows)
    of_raw = found["delivered: a second"] / statistics.mean(raw)
    each = "ms CPU each 1,000"
    ours = found[f"processes: {each}"] - found[f"load generator: {each}"]
    of_work = ours / statistics.mean(work)
    rows += [
        ("rows alone", ", ".join(f"{rate:.0f} a second" for rate in raw)),
        ("work alone", ", ".join(f"{spent:.2f} ms" for spent in work)),
        ("messages to rows", f"{of_raw:.3f} (at least {LEAST_OF_RAW[kind]})"),
        ("CPU of 1,000 messages to work", f"{of_work:.2f} (at most {MOST_OF_WORK})"),
    ]
    if of_raw < LEAST_OF_RAW[kind] or of_work > MOST_OF_WORK:
        told = "\n".join(f"{name}: {value}" for name, value in rows)
        raise Failed(f"a message costs clearly more than it did\n{told}")
    return rows


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
