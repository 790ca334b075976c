"""What is counted by plain numbers reads as prometheus_client's own metrics do."""

from __future__ import annotations

from prometheus_client import REGISTRY, Counter, Histogram, generate_latest

from im_common.runtime.tallies import HistogramTally, Tally


def shown(name: str) -> list[str]:
    """What /metrics says of it, but for its name."""
    return [
        line.replace(name, "x", 1)
        for line in generate_latest(REGISTRY).decode().splitlines()
        if line.startswith((name, f"# HELP {name}", f"# TYPE {name}"))
    ]


def test_a_histogram_shows_what_one_of_prometheus_shows() -> None:
    bounds = (0.1, 1.0, 10.0)
    ours, theirs = (
        HistogramTally("tally_a_seconds", "Time", bounds),
        Histogram("tally_b_seconds", "Time", buckets=bounds),
    )
    for amount in (0.05, 0.1, 0.5, 1.0, 9.0, 11.0):
        ours.observe(amount)
        theirs.observe(amount)
    assert shown("tally_a_seconds") == shown("tally_b_seconds")
    assert 'x_bucket{le="1.0"} 4.0' in shown("tally_a_seconds")


def test_a_counter_shows_what_one_of_prometheus_shows_of_all_its_values() -> None:
    ours = Tally("tally_c_total", "Things", "kind", ["one", "two"])
    theirs = Counter("tally_d_total", "Things", ["kind"])
    for kind in ("one", "two"):
        theirs.labels(kind)
    ours.counts["one"] += 3
    theirs.labels("one").inc(3)
    assert shown("tally_c_total") == shown("tally_d_total")
