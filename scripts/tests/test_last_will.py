"""A test run that is killed leaves no server behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from im_local import last_will

RUN = """
import json, time
from im_common.testing.etcd import EtcdServer
from im_common.testing.push_service import process
from im_common.testing.valkey import ValkeyServer
from im_local.testing import System

def test_that_never_ends(tmp_path):
    with (
        ValkeyServer.running(tmp_path / "valkey") as valkey,
        EtcdServer.running(tmp_path / "etcd") as etcd,
        process() as (_address, child),
        System.start(tmp_path / "system") as system,
    ):
        valkey.freeze()
        pids = [valkey.pid, etcd.pid, child.pid, *system.ready.pids.values()]
        print(json.dumps(pids), flush=True)
        time.sleep(600)
"""
INFRA = """
import json, subprocess, time
from im_local import last_will
from im_local.infra_servers import PORTS
from im_local.testing import free_port_offset

def test_that_never_ends(tmp_path):
    offset = free_port_offset([*PORTS.values(), 12397, 19093])
    command = ["{root}/scripts/infra", "{{}}", "--data", str(tmp_path)]
    last_will.run_at_our_end([word.format("down") for word in command])
    up = [word.format("up") for word in command]
    subprocess.run([*up, "--port-offset", str(offset)], check=True, stdout=subprocess.DEVNULL)
    import yaml
    pids = yaml.safe_load((tmp_path / "infra.yaml").read_text())["pids"]
    print(json.dumps(list(pids.values())), flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    "text", [RUN, pytest.param(INFRA, marks=pytest.mark.infra)], ids=["embedded", "real"]
)
def test_servers_of_a_killed_run_end(
    text: str, tmp_path: Path, is_gone: Callable[[int], bool]
) -> None:
    """The embedded ones, one that is frozen too, the services, and the real servers."""
    root = Path(__file__).parents[2]
    (tmp_path / "test_it.py").write_text(text.replace("{root}", str(root)).replace("{{}}", "{}"))
    command = [sys.executable, "-P", "-m", "pytest", "-s", "-q", "-c", os.devnull]
    run = subprocess.Popen(
        [*command, "--basetemp", str(tmp_path / "run"), str(tmp_path / "test_it.py")],
        stdout=subprocess.PIPE,
        text=True,
    )
    last_will.ends_with_us(run.pid)
    assert run.stdout is not None
    said = ""
    while not said.startswith("["):
        said = run.stdout.readline()
        assert said, "the run ended"
    pids = json.loads(said)
    assert not any(is_gone(pid) for pid in pids)
    run.send_signal(signal.SIGKILL)
    run.wait()
    deadline = time.monotonic() + 60
    while left := [pid for pid in pids if not is_gone(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_a_will_that_was_revoked_is_not_carried_out(tmp_path: Path) -> None:
    """The others are, in a run that ends by itself too."""
    program = f"""if True:
        from im_local import last_will
        revoke = last_will.run_at_our_end(["touch", "{tmp_path}/revoked"])
        last_will.run_at_our_end(["touch", "{tmp_path}/done"])
        revoke()
    """
    subprocess.run([sys.executable, "-P", "-c", program], check=True)
    deadline = time.monotonic() + 20
    while not (tmp_path / "done").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not (tmp_path / "revoked").exists()
