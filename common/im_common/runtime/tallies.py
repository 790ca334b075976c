"""Metrics of what every message passes: counted by plain numbers, which the one thread of the event
loop changes, and made into samples only when /metrics is asked for.

A counter of prometheus_client takes a lock at each step and a histogram looks at its buckets one by
one: a microsecond and more for each message, where this takes a fraction of one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import REGISTRY, Collector


class Tally(Collector):
    """A counter for each value of one label; all of them are there from the start."""

    def __init__(self, name: str, documentation: str, label: str, values: Iterable[str]) -> None:
        self.counts = dict.fromkeys(values, 0)
        self._name, self._documentation, self._label = name, documentation, label
        REGISTRY.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._documentation, labels=[self._label])
        for value, count in self.counts.items():
            family.add_metric([value], count)
        yield family


class HistogramTally(Collector):
    """A histogram without labels."""

    def __init__(self, name: str, documentation: str, buckets: Sequence[float]) -> None:
        """``buckets`` are the upper bounds, ascending, without the infinite one."""
        self._name, self._documentation = name, documentation
        self._bounds = list(buckets)
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        REGISTRY.register(self)

    def observe(self, amount: float) -> None:
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._sum += amount

    def collect(self) -> Iterator[HistogramMetricFamily]:
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        family = HistogramMetricFamily(self._name, self._documentation)
        family.add_metric([], buckets, self._sum)
        yield family
