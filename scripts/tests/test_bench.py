"""What scripts/bench reads out of its own tables."""

from pathlib import Path

import pytest

from im_bench import guard, plot
from im_bench.__main__ import BENCHMARKS, main
from im_bench.beside import Side, table
from im_bench.report import Failed, figures, latency


def test_every_number_with_a_unit_is_a_figure() -> None:
    rows = [
        ("load", "100 pairs, 16 in flight each, 5 s"),
        ("sent", "11856 a second, p50 127.77, p99 249.60, p99.9 260.00, max 281.68 ms"),
        ("  chat-mq", "   549.3 ms CPU each 1,000, 107.7 -> 110.0 MiB"),
        ("  ws-gateway", "4.1% of a core"),
    ]
    assert figures(rows) == {
        "sent: a second": 11856,
        "sent: p50": 127.77,
        "sent: p99": 249.6,
        "sent: p99.9": 260,
        "sent: max": 281.68,
        "chat-mq: ms CPU each 1,000": 549.3,
        "chat-mq: MiB": 110,
        "ws-gateway: % of a core": 4.1,
    }


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in BENCHMARKS)])
def test_help_says_what_there_is(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    assert "usage: scripts/bench" in capsys.readouterr().out


def test_latencies_are_read_back_as_they_were() -> None:
    seconds = [number / 1000 for number in range(1, 1001)]
    read = figures([("sent", latency(seconds))])
    assert read == {
        "sent: p50": 501,
        "sent: p90": 901,
        "sent: p99": 991,
        "sent: p99.9": 1000,
        "sent: max": 1000,
    }


def test_ratios_are_of_the_runs_of_one_turn(tmp_path: Path) -> None:
    ours = Side("this", tmp_path, runs=[{"sent: a second": 20}, {"sent: a second": 60}])
    theirs = Side("42aa244", tmp_path, runs=[{"sent: a second": 10}, {"sent: a second": 20}])
    (_, row), ratios = table(ours, theirs)
    assert row == ("sent: a second", "40, 15; 2.67; 2.00, 3.00")
    assert ratios == {"sent: a second": [2, 3]}


def test_a_picture_shows_the_latencies_and_the_ratios(tmp_path: Path) -> None:
    lines, bars = tmp_path / "lines.svg", tmp_path / "bars.svg"
    seconds = [number / 1000 for number in range(1, 1001)]
    plot.latencies(lines, "scripts/bench messages", figures([("delivered", latency(seconds))]))
    ratios = {"sent: a second": [1.25, 2.5], "processes: ms CPU each 1,000": [0.5]}
    of_one = {"redis: ms CPU each 1,000": [7.5], "redis: MiB": [6.5]}
    plot.ratios(bars, "beside 42aa244", ratios | of_one)
    drawn = lines.read_text()
    assert all(text in drawn for text in ("delivered", "501", "991", "p99.9"))
    drawn = bars.read_text()
    assert all(text in drawn for text in ("sent: a second", "1.25", "2.5", "0.5", "42aa244"))
    assert not any(text in drawn for text in ("redis", "7.5", "6.5"))


def test_a_picture_that_cannot_be_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"--plot .*/none/a.svg: there is no folder"):
        plot.check(tmp_path / "none" / "a.svg")


@pytest.mark.parametrize(("of_rows", "of_work"), [(0.029, 20.0), (0.1, 60.5)])
def test_a_clear_fall_fails_and_says_both_ratios(of_rows: float, of_work: float) -> None:
    assert len(guard.verdict(of_rows=0.031, least=0.03, of_work=59.5)) == 2
    with pytest.raises(Failed, match=rf"to rows: {of_rows}.* to work: {of_work}"):
        guard.verdict(of_rows=of_rows, least=0.03, of_work=of_work)
