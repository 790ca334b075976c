"""Which suites scripts/test runs, and what it says of them."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from im_local import last_will, mysql, suites
from im_local.console import Console
from im_local.paths import ROOT
from im_local.suites import APART, EMBEDDED, MYSQL, ONCE, REAL, Run, Suite, stages


@pytest.mark.parametrize(
    "servers", [[EMBEDDED], [REAL], [EMBEDDED, REAL], [REAL, MYSQL], [EMBEDDED, REAL, MYSQL]]
)
def test_every_test_file_runs_once_on_each_system(servers: list[str]) -> None:
    every = [suite for lanes in stages(servers) for lane in lanes for suite in lane]
    # What runs once more is of one database alone.
    every = [suite for suite in every if "mysql" not in suite.options]
    every = [
        replace(s, paths=[p for p in s.paths if p not in suites.TALK or s.servers != APART])
        for s in every
    ]
    servers = [kind for kind in servers if kind != MYSQL]
    if EMBEDDED in servers:
        for file in ROOT.glob("*/tests/**/test_*.py"):
            assert len([s for s in every if _runs(s, file)]) == 1, file
    for file in ROOT.glob("tests/test_*.py"):
        once = ONCE.get(str(file.relative_to(ROOT)))
        on = [once] if once in servers else servers
        runs = [s.servers.replace(APART, REAL) for s in every if _runs(s, file)]
        assert sorted(runs) == sorted(on), file


@pytest.mark.parametrize("servers", [[REAL], [EMBEDDED, REAL]])
def test_what_is_left_out_of_a_file_runs_in_another_lane(servers: list[str]) -> None:
    kills = [suite for lane in stages(servers)[1] for suite in lane]
    assert {suite.servers for suite in kills} == {REAL, APART}
    left = [(s, o.partition("=")[2]) for s in kills for o in s.options if "--deselect=" in o]
    assert [test for _, test in left] == suites.LENT
    for suite, test in left:
        (other,) = [other for other in kills if test in other.paths]
        assert (suite.servers, other.servers) == (REAL, APART)
    known = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "--collect-only", *suites.LENT],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert known.returncode == 0, known.stdout


@pytest.mark.parametrize("servers", [[REAL], [EMBEDDED, REAL]])
def test_a_server_that_is_frozen_or_killed_is_no_other_lanes(servers: list[str]) -> None:
    beside, kills, alone = stages(servers)
    # Tests of the log freeze it.
    (log,) = [lane for lane in beside if any(suite.servers == APART for suite in lane)]
    assert "common/tests" in log[0].paths
    (system,) = [s for lane in beside for s in lane if s.servers == REAL and "tests" in s.paths]
    for file in ROOT.glob("tests/test_*.py"):
        # One with servers of its own may do with them what it likes.
        text = file.read_text()
        is_about_ours = '"mysql"' in text and "scripts/infra" not in text
        assert not (_runs(system, file) and is_about_ours), file
    assert [{suite.servers for suite in lane} for lane in kills] == [{REAL}, {APART}]
    assert len(alone) == 1


def test_what_is_about_a_database_runs_on_mysql_too(tmp_path: Path) -> None:
    """Its tests on such a database alone, and a conversation of the whole system; and of what is apart
    those on the other one."""
    every = [suite for lane in stages([EMBEDDED, REAL, MYSQL])[0] for suite in lane]
    on_mysql = [suite for suite in every if suite.servers == MYSQL]
    assert all(suite.command([])[-3:-1] == ["-k", "mysql"] for suite in on_mysql)
    for file in ROOT.glob("*/tests/**/test_*plans.py"):
        for kinds in ({MYSQL, APART}, {REAL}):
            assert any(_runs(suite, file) for suite in every if suite.servers in kinds), file
    without = [suite for lane in stages([EMBEDDED, REAL])[0] for suite in lane]
    (talk,) = [suite for suite in every if suite.paths == suites.TALK]
    (databases,) = [suite for suite in every if suite.paths == suites.OF_DATABASES]
    assert (talk.servers, databases.servers) == (APART, REAL)
    more = {s.name for s in (*on_mysql, talk, databases)}
    assert {s.name for s in every} - more == {s.name for s in without}


def test_where_mysql_cannot_be_had_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(mysql.VARIABLE, str(tmp_path))
    assert not suites.has_mysql(Console())
    assert (
        f"NOTHING RUNS ON MYSQL ITSELF: MYSQL_ROOT: there is no usr/sbin/mysqld in {tmp_path}"
        in (capsys.readouterr().out)
    )


def test_outcomes_add_up_and_a_failure_fails_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What each said is shown whole; one that ends in the middle counts as a failure."""
    good, bad, dies = (tmp_path / f"test_{name}.py" for name in ("good", "bad", "dies"))
    good.write_text("import pytest\ndef test_a(): pass\n@pytest.mark.skip\ndef test_b(): pass\n")
    bad.write_text("def test_a(): pass\ndef test_b(): assert not 'the reason'\n")
    dies.write_text("import os\ndef test_a(): os._exit(7)\n")
    run = Run([], {}, Console())
    run.all([[Suite(EMBEDDED, [str(good)])], [Suite(EMBEDDED, [str(p)]) for p in (bad, dies)]])
    assert dict(run.counts) == {"passed": 2, "failed": 2, "skipped": 1}
    assert run.failed == [f"{bad} (embedded)", f"{dies} (embedded)"]
    said = capsys.readouterr().out
    assert "the reason" in said
    assert f"ended: {dies} (embedded), exit code 7" in said


def test_a_suite_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "LIMIT_S", 0.2)
    hanging = [sys.executable, "-c", "import time; time.sleep(600)"]
    assert suites.wait(suites.start(hanging, dict(os.environ))) == -signal.SIGABRT


def test_a_suite_that_does_not_end_after_its_tests_is_ended(tmp_path: Path) -> None:
    (tmp_path / "test_left.py").write_text("""if True:
        import threading, time
        from im_common.testing import pytest_settings
        pytest_settings.END_WITHIN_S = 0.2
        def test_it(): threading.Thread(target=time.sleep, args=(600,)).start()
        """)
    with (tmp_path / "output").open("wb") as output:
        suite = Suite(EMBEDDED, [str(tmp_path / "test_left.py")])
        options = ["-p", "im_common.testing.pytest_settings"]
        process = suites.start(suite.command(options), dict(os.environ), output.fileno())
        assert suites.wait(process) == 1
    said = (tmp_path / "output").read_text()
    assert "1 passed" in said
    assert "Timeout" in said


def test_an_interruption_ends_what_runs_in_order(tmp_path: Path) -> None:
    """The fixtures of the running suites are taken down, and no other suite begins."""
    (tmp_path / "test_slow.py").write_text(f"""if True:
        import pathlib, pytest, time
        @pytest.fixture
        def thing():
            yield pathlib.Path("{tmp_path}/begun").touch()
            pathlib.Path("{tmp_path}/taken_down").touch()
        def test_it(thing): time.sleep(600)
        """)
    program = f"""if True:
        from im_local.console import Console
        from im_local.suites import EMBEDDED, Run, Suite
        slow = Suite(EMBEDDED, ["{tmp_path}/test_slow.py"])
        Run([], {{}}, Console()).all([[slow, slow]])
    """
    command = [sys.executable, "-P", "-c", program]
    run = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # Where we run in the background of a shell it is ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    last_will.ends_with_us(run.pid)
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=120)[0]
    assert (tmp_path / "taken_down").exists()
    assert said.count("begins") == 1


def test_help_says_what_it_does_and_runs_nothing() -> None:
    """pytest's own help, once for each suite, is none."""
    command = [ROOT / "scripts/test", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.startswith("scripts/test [--infra | --all] ")
    assert "begins" not in said


def test_a_path_is_run_by_itself(tmp_path: Path) -> None:
    """With its output as it comes, and its exit code."""
    (tmp_path / "test_bad.py").write_text("def test_b(): assert not 'the reason'\n")
    command = [sys.executable, "-P", "-m", "im_local.suites", str(tmp_path / "test_bad.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "begins" not in done.stdout
    assert "1 failed" in done.stdout


def _runs(suite: Suite, file: Path) -> bool:
    without = [ROOT / path for path in suite.without]
    return file not in without and any(file.is_relative_to(ROOT / p) for p in suite.paths)
