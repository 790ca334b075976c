"""The machine, and what processes use of it: read from /proc."""

from __future__ import annotations

import contextlib
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from im_bench.report import Row

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_MIB = 1024 * 1024
# The one writer of messages.
CONSUMER = "chat-mq"


def describe() -> list[Row]:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return [
        ("machine", f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores, {memory // _MIB} MiB"),
        ("system", f"{platform.system()} {platform.release()}, Python {platform.python_version()}"),
    ]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


@dataclass(frozen=True)
class Usage:
    """CPU seconds since its start, and resident memory in bytes, of one process."""

    cpu_s: float
    rss: int


def usage(pids: Mapping[str, int]) -> dict[str, Usage]:
    """Of each process that is there, by name."""
    found = {}
    for name, pid in pids.items():
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            continue
        # The name in brackets may hold anything; what follows it is numbers, from field 3 on.
        fields = text.rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        found[name] = Usage(cpu_s, int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))
    return found


class Growth:
    """The memory of one process before a run, and after each tenth of it."""

    def __init__(self, pids: Mapping[str, int], name: str, total: int) -> None:
        self._name = name
        self._pids = {name: pids[name]} if name in pids else {}
        self._total = total
        self._sizes: list[float] = []
        self.note(0)

    def note(self, done: int) -> bool:
        """To be told often how much is done; whether that is another tenth."""
        new = done * 10 // self._total + 1 - len(self._sizes)
        if new > 0:
            found = usage(self._pids).get(self._name)
            self._sizes += [found.rss / _MIB if found else math.nan] * new
        return new > 0

    def row(self) -> Row:
        before, *tenths = (f"{size:.1f}" for size in self._sizes)
        return f"{self._name} memory", f"{before} -> {' '.join(tenths)} MiB (after each tenth)"


def compare(before: Mapping[str, Usage], after: Mapping[str, Usage], count: int) -> list[Row]:
    """CPU for each 1,000 of what was counted, and memory; the busiest first."""
    spent = {name: after[name].cpu_s - before[name].cpu_s for name in before if name in after}
    rows = [
        (
            f"  {name}",
            f"{cpu_s / count * 1e6:7.1f} ms CPU each 1,000, "
            f"{before[name].rss / _MIB:.1f} -> {after[name].rss / _MIB:.1f} MiB",
        )
        for name, cpu_s in sorted(spent.items(), key=lambda item: -item[1])
    ]
    total = sum(spent.values())
    return [("processes", f"{total / count * 1e6:.1f} ms CPU each 1,000 together"), *rows]


def keep_a_core(pids: Iterable[int]) -> int:
    """Gives this process a core of its own and the others the rest, so that it takes nothing from what
    it measures; how many they have. With one core in all they share it."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return 1
    for pid in pids:
        pin(pid, cores[:-1])
    pin(os.getpid(), cores[-1:])
    return len(cores) - 1


def pin(pid: int, cores: Sequence[int]) -> None:
    """Has the process run on these cores alone, with what it starts from now on."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        # One may end meanwhile.
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cores)
