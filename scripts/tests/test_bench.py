"""What scripts/bench reads out of its own tables, and how it ends."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import PIPE

import pytest

from im_bench import guard, machine, plot, scale
from im_bench.__main__ import BENCHMARKS, COMPARISONS, main
from im_bench.report import Failed, Figures, figures, latency
from im_bench.turns import Side, table
from im_local.paths import PYTHON


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


NAMES = [*BENCHMARKS, *COMPARISONS]


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in NAMES)])
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


def test_ratios_are_of_the_runs_of_one_turn() -> None:
    ours = Side("this", runs=[{"sent: a second": 20}, {"sent: a second": 60}])
    theirs = Side("42aa244", runs=[{"sent: a second": 10}, {"sent: a second": 20}])
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


@pytest.mark.parametrize("other", ["--ready", "--infra"])
def test_new_servers_are_not_put_beside_servers_that_run(
    other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["messages", "--real", other, "none"]) == 1
    assert "--real starts servers of its own" in capsys.readouterr().err


@pytest.mark.parametrize(("of_rows", "of_work"), [(0.029, 20.0), (0.1, 60.5)])
def test_a_clear_fall_fails_and_says_both_ratios(of_rows: float, of_work: float) -> None:
    assert len(guard.verdict(of_rows=0.031, least=0.03, of_work=59.5)) == 2
    with pytest.raises(Failed, match=rf"to rows: {of_rows}.* to work: {of_work}"):
        guard.verdict(of_rows=of_rows, least=0.03, of_work=of_work)


def test_more_processes_are_judged_by_their_messages_and_beyond_the_cores_by_their_cost() -> None:
    def run(rate: float, consumers: Sequence[float], gateway: float, log: float) -> Figures:
        cpu = {"chat-mq": consumers[0], "ws-gateway": gateway, "kafka": log}
        cpu |= {f"chat-mq-{number}": ms for number, ms in enumerate(consumers[1:], 2)}
        each = {f"{name}: ms CPU each 1,000": ms for name, ms in cpu.items()}
        total = sum(cpu.values())
        return {"sent: a second": rate, **each, "processes: ms CPU each 1,000": total}

    one = scale.Size("1", [run(5000, [100], 60, 40)], number=1)
    two = scale.Size("2", [run(9000, [60, 50], 60, 50)], number=2)
    four = scale.Size("4", [run(8000, [30, 30, 30, 30], 90, 40)], number=4)
    rows, ratios = scale.report([one, two, four], cores=2)
    told = dict(rows)
    assert told["2 of each"] == (
        "9000 a second; ms CPU each 1,000: chat-mq 110, ws-gateway 60, kafka 50; "
        "1.98 of 2 cores busy"
    )
    assert told["2 to 1: messages a second"] == "1.80 (1.80)"
    assert "4 to 1: messages a second" not in told
    assert told["4 to 1: CPU of a message"] == "1.25 (1.25); of the pairs alone 1.31 (1.31)"
    assert told["4 to 1: on 4 cores"] == "3.20 (3.20) times the messages, by their CPU"
    assert ratios["2 to 1: messages a second"] == [1.8]


def test_a_process_with_all_its_threads_stays_on_its_cores() -> None:
    core = sorted(os.sched_getaffinity(0))[0]
    code = "import threading; threading.Thread(target=input).start(); print(1, flush=True)"
    with subprocess.Popen([PYTHON, "-c", code], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        machine.pin(process.pid, [core])
        threads = [int(path.name) for path in Path(f"/proc/{process.pid}/task").iterdir()]
        assert len(threads) == 2
        assert [os.sched_getaffinity(thread) for thread in threads] == [{core}] * 2
        process.communicate(b"\n")


def test_one_that_is_ended_leaves_no_process_behind(tmp_path: Path) -> None:
    load = ["--pairs", "1", "--in-flight", "1", "--seconds", "120"]
    command = [PYTHON, "-P", "-m", "im_bench", "messages", *load, "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True) as process:
        try:
            _wait(lambda: (tmp_path / "ready.json").exists() or process.poll() is not None, 60)
            assert process.poll() is None
            pids = list(json.loads((tmp_path / "ready.json").read_text())["pids"].values())
            assert len(pids) > 8
            process.terminate()
            assert process.wait(60) == 130
            _wait(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], 10)
        finally:
            process.kill()


def _wait(what: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
