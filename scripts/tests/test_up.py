"""The supervisor in a process of its own, with stand-ins for the servers and services."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from im_local import background
from im_local.console import Console
from im_local.errors import LocalError
from im_local.paths import DataDir

FakeUpMaker = Callable[..., Any]
Gone = Callable[[int], bool]


def test_servers_are_ready_before_the_services_start(fake_up: FakeUpMaker) -> None:
    """ready.json comes when all are ready, with every pid."""
    up = fake_up()
    process = up.start_ready()
    assert up.events()[0] == "started store"
    assert set(up.pids()) == {"store", "logic", "edge"}
    assert up.supervisor() == process.pid
    assert up.answers("logic") == "logic"


@pytest.mark.parametrize("behaviour", ["good", "forked"])
def test_a_killed_process_is_started_again(fake_up: FakeUpMaker, behaviour: str) -> None:
    """ready.json holds the new pid, and the pause before the next start grows."""
    up = fake_up(("store", "SERVER", "good"), ("logic", "SERVICE", behaviour))
    process = up.start_ready()
    first = up.pids()["logic"]
    os.kill(first, signal.SIGKILL)
    killed = time.monotonic()
    up.wait(lambda: up.pids()["logic"] != first)
    # After half a second, and not after the two that come later.
    assert time.monotonic() - killed < 5
    up.wait(lambda: up.answers("logic"))
    os.kill(up.pids()["logic"], signal.SIGKILL)
    second = up.pids()["logic"]
    up.wait(lambda: up.pids()["logic"] != second)
    process.terminate()
    said = process.communicate(timeout=60)[0]
    assert "logic ended (killed by SIGKILL); starting it again in 0.5 s" in said
    assert "starting it again in 1 s" in said


def test_a_killed_server_is_started_again(fake_up: FakeUpMaker) -> None:
    up = fake_up()
    up.start_ready()
    first = up.pids()["store"]
    os.kill(first, signal.SIGKILL)
    up.wait(lambda: up.pids()["store"] != first and up.answers("store") is not None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_goes_gateways_services_servers(
    fake_up: FakeUpMaker, is_gone: Gone, number: signal.Signals
) -> None:
    """Nothing is left, and what says that it runs is gone too."""
    up = fake_up()
    process = up.start_ready()
    pids = up.pids()
    process.send_signal(number)
    assert process.wait(timeout=30) == 0
    assert [line for line in up.events() if line.startswith("ended")] == [
        "ended edge",
        "ended logic",
        "ended store",
    ]
    assert all(is_gone(pid) for pid in pids.values())
    assert not (up.data / "ready.json").exists()
    assert not (up.data / "supervisor.pid").exists()


def test_what_does_not_end_is_killed_within_the_bound(fake_up: FakeUpMaker, is_gone: Gone) -> None:
    up = fake_up(
        ("store", "SERVER", "deaf"), ("logic", "SERVICE", "deaf"), ("edge", "GATEWAY", "deaf")
    )
    process = up.start_ready()
    pids = up.pids()
    begin = time.monotonic()
    process.terminate()
    assert process.wait(timeout=30) == 0
    # One stage after the other would take twelve seconds.
    assert time.monotonic() - begin < 11.5
    assert all(is_gone(pid) for pid in pids.values())


def test_a_second_ctrl_c_ends_at_once(fake_up: FakeUpMaker, is_gone: Gone) -> None:
    up = fake_up(("store", "SERVER", "deaf"), ("logic", "SERVICE", "deaf"))
    process = up.start_ready()
    pids = up.pids()
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    # Else it is killed after more than six.
    assert time.monotonic() - begin < 6
    assert all(is_gone(pid) for pid in pids.values())


def test_a_killed_supervisor_takes_its_children_along(fake_up: FakeUpMaker, is_gone: Gone) -> None:
    """Deaf children too; and the folder can be used again at once."""
    up = fake_up(("store", "SERVER", "deaf"), ("logic", "SERVICE", "deaf"))
    process = up.start_ready()
    pids = up.pids()
    process.kill()
    process.wait()
    up.wait(lambda: all(is_gone(pid) for pid in pids.values()))
    up.start_ready()


def test_a_killed_supervisor_takes_a_frozen_service_along(
    fake_up: FakeUpMaker, is_gone: Gone
) -> None:
    """With the fork server that it comes from."""
    up = fake_up(("logic", "SERVICE", "forked"), ("edge", "GATEWAY", "forked"))
    process = up.start_ready()
    pids = [*up.pids().values(), _parent(up.pids()["logic"])]
    os.kill(up.pids()["logic"], signal.SIGSTOP)
    process.kill()
    process.wait()
    up.wait(lambda: all(is_gone(pid) for pid in pids))


def test_services_come_from_one_process_that_has_their_imports(fake_up: FakeUpMaker) -> None:
    """Also one that is started again, and all of them when that process itself dies."""
    up = fake_up(("logic", "SERVICE", "forked"), ("edge", "GATEWAY", "forked"))
    up.start_ready()
    first = up.pids()
    server = _parent(first["logic"])
    assert _parent(first["edge"]) == server
    os.kill(first["logic"], signal.SIGKILL)
    up.wait(lambda: up.pids()["logic"] != first["logic"] and up.answers("logic") == "logic")
    assert _parent(up.pids()["logic"]) == server
    second = up.pids()
    os.kill(server, signal.SIGKILL)
    up.wait(lambda: not set(up.pids().values()) & {second["logic"], second["edge"]})
    up.wait(lambda: up.answers("logic") == "logic" and up.answers("edge") == "edge")


def test_it_goes_on_when_nobody_reads_what_it_says(fake_up: FakeUpMaker) -> None:
    """As with `scripts/up | head -1`: services are started all the same."""
    up = fake_up(("store", "SERVER", "good"), ("logic", "SERVICE", "forked"))
    process = up.start()
    process.stdout.close()
    process.stdout = None
    up.wait(lambda: (up.data / "ready.json").exists() or process.poll() is not None)
    assert up.answers("logic") == "logic"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_the_scripts_run_where_a_standard_stream_is_closed(tmp_path: Path, closed: str) -> None:
    """Nothing else is opened in its place, for what is printed to be written there."""
    down = f'"$0" --data "$1" {closed}'
    command = ["bash", "-c", down, str(Path(__file__).parents[1] / "down"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_ctrl_c_during_the_start_ends_it(fake_up: FakeUpMaker) -> None:
    up = fake_up(("store", "SERVER", "mute"))
    process = up.start()
    up.wait(lambda: (up.data / "events").exists())
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    assert up.events() == ["started store", "ended store"]


def test_a_taken_port_is_named(fake_up: FakeUpMaker) -> None:
    """The message says which process wants it, who has it and what to do; nothing was started."""
    up = fake_up()
    with socket.socket() as other:
        other.bind(("127.0.0.1", up.ports["logic"]))
        other.listen()
        process = up.start()
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 3
    assert f"Port {up.ports['logic']}, which logic needs" in said
    program = Path("/proc/self/comm").read_text().strip()
    assert f"in use by {program} (pid {os.getpid()})" in said
    assert "--port-offset" in said
    assert not (up.data / "events").exists()


def test_a_port_that_an_outgoing_connection_holds_is_waited_for(fake_up: FakeUpMaker) -> None:
    up = fake_up()
    with socket.create_server(("127.0.0.1", 0)) as server:
        away = server.getsockname()
        with socket.create_connection(away, source_address=("127.0.0.1", up.ports["logic"])):
            process = up.start()
            assert process.stdout is not None
            assert f"waiting for port {up.ports['logic']}" in process.stdout.readline()
            assert not (up.data / "events").exists()
            server.accept()[0].close()
    up.wait(lambda: (up.data / "ready.json").exists())
    assert up.answers("logic") == "logic"


def test_a_service_that_keeps_ending_fails_the_start(fake_up: FakeUpMaker, is_gone: Gone) -> None:
    """The end of its log says why, and everything else is ended."""
    up = fake_up(("store", "SERVER", "good"), ("logic", "SERVICE", "broken"))
    process = up.start()
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert "logic ended 3 times before it was ready (exit code 3)" in said
    assert "this is why" in said
    assert up.events() == ["started store", "ended store"]


def test_a_second_start_on_the_same_folder_is_refused(fake_up: FakeUpMaker) -> None:
    up, other = fake_up(), fake_up()
    process = up.start_ready()
    second = other.start()
    said = second.communicate(timeout=60)[0]
    assert second.returncode == 1
    assert f"already runs on {up.data} (pid {process.pid})" in said
    assert up.answers("edge") == "edge"


def test_a_folder_that_cannot_be_had_is_said_to_be_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="file is no folder"):
        DataDir.at(tmp_path / "file").make()
    with pytest.raises(LocalError, match="Not a directory"):
        DataDir.at(tmp_path / "file" / "data").make()

    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(LocalError, match="may not write"):
        DataDir.at(tmp_path / "another").make()


def test_down_says_that_a_folder_is_another_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_lock: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(background, "is_held", refuse)
    with pytest.raises(LocalError, match="another user's"):
        background.down(DataDir.at(tmp_path), Console())


def test_detach_returns_when_ready_and_down_ends_it(fake_up: FakeUpMaker, is_gone: Gone) -> None:
    up = fake_up()
    process = up.start("--detach")
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert "http://127.0.0.1:1/docs" in said
    pids = [*up.pids().values(), up.supervisor()]
    assert int((up.data / "supervisor.pid").read_text()) == up.supervisor()
    assert "ended what ran" in _down(up.data)
    # The supervisor lets go of the folder with its last breath.
    deadline = time.monotonic() + 15
    while not all(is_gone(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "nothing runs" in _down(up.data)


def test_detach_tells_why_the_start_failed(fake_up: FakeUpMaker) -> None:
    up = fake_up(("logic", "SERVICE", "broken"))
    process = up.start("--detach")
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert "this is why" in said


def test_detach_shows_the_log_of_a_start_that_ended_by_a_fault(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fault = [sys.executable, "-c", "raise OSError('too many open files')"]
    assert background.detach(DataDir.at(tmp_path), fault) == 1
    assert "OSError: too many open files" in capfd.readouterr().err


def test_down_tidies_up_after_a_killed_supervisor(fake_up: FakeUpMaker) -> None:
    """Nobody is to take what is gone for ready."""
    up = fake_up()
    process = up.start_ready()
    process.kill()
    process.wait()
    assert (up.data / "ready.json").exists()
    assert "nothing runs" in _down(up.data)
    assert not (up.data / "ready.json").exists()


def test_down_leaves_a_stranger_with_the_old_pid_alone(tmp_path: Path) -> None:
    """A pid in the file means nothing once the lock is free."""
    (tmp_path / "lock").touch()
    (tmp_path / "supervisor.pid").write_text(str(os.getpid()))
    assert "nothing runs" in _down(tmp_path)


def test_ready_json_is_never_half_written(fake_up: FakeUpMaker) -> None:
    """A reader that looks all the time sees only whole documents while pids change."""
    up = fake_up()
    up.start_ready()
    first = up.pids()["edge"]
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 15
    while up.pids()["edge"] == first:
        json.loads((up.data / "ready.json").read_text())
        assert time.monotonic() < deadline


def _down(data: Path) -> str:
    command = [sys.executable, "-m", "im_local", "down", "--data", str(data)]
    scripts = str(Path(__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": scripts}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return done.stdout


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
