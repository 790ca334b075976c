"""The real servers of scripts/infra."""

import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from im_local import last_will
from im_local.infra_servers import PORTS, described
from im_local.kafka_servers import kafka_argv
from im_local.testing import free_port_offset

INFRA = Path(__file__).parents[1] / "infra"


class Infra:
    def __init__(self, data: Path) -> None:
        self.data = data

    def run(self, action: str, *arguments: str) -> str:
        command = [str(INFRA), action, "--data", str(self.data), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def read(self) -> dict[str, Any]:
        content: dict[str, Any] = yaml.safe_load((self.data / "infra.yaml").read_text())
        return content


@pytest.fixture
def infra(tmp_path: Path) -> Iterator[Infra]:
    infra = Infra(tmp_path)
    last_will.run_at_our_end([str(INFRA), "down", "--data", str(tmp_path)])
    yield infra
    infra.run("down")


@pytest.mark.infra
def test_only_what_is_dead_is_started_again(infra: Infra, is_gone: Callable[[int], bool]) -> None:
    """With the same ports, and on the same data; the end leaves no process."""
    offset = free_port_offset([*PORTS.values(), 12397, 19093])
    infra.run("up", "--port-offset", str(offset))
    before = infra.read()
    assert before["kafka"]["brokers"] == [f"127.0.0.1:{PORTS['kafka'] + offset}"]
    assert "already running" in infra.run("up")
    os.kill(before["pids"]["redis"], signal.SIGKILL)
    os.kill(before["pids"]["mysql"], signal.SIGKILL)
    infra.run("up")
    after = infra.read()
    assert {n for n in PORTS if after["pids"][n] != before["pids"][n]} == {"redis", "mysql"}
    assert {**after, "pids": 0} == {**before, "pids": 0}
    infra.run("down")
    assert all(is_gone(pid) for pid in after["pids"].values())
    assert "nothing runs" in infra.run("down")


@pytest.mark.infra
def test_of_a_cluster_only_the_member_that_is_dead_is_started_again(infra: Infra) -> None:
    """And the file says how its clients log in."""
    clients, peers, health = (range(first, first + 3) for first in (12401, 12411, 12421))
    offset = free_port_offset([*clients, *peers, *health])
    infra.run("up", "--only", "etcd", "--with", "etcd-cluster", "--port-offset", str(offset))
    before = infra.read()
    assert before["etcd"]["hosts"] == [f"127.0.0.1:{port + offset}" for port in clients]
    assert before["etcd"]["user"] == "im"
    for key in ("password_file", "ca_cert_file", "cert_file", "cert_key_file"):
        assert (infra.data / before["etcd"][key]).read_text()
    os.kill(before["pids"]["etcd-2"], signal.SIGKILL)
    infra.run("up")
    after = infra.read()
    changed = {n for n, pid in after["pids"].items() if pid != before["pids"][n]}
    assert changed == {"etcd-2"}
    assert {**after, "pids": 0} == {**before, "pids": 0}


@pytest.mark.infra
def test_a_cluster_may_have_any_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka's own tool takes one that begins with a hyphen for an option."""
    with_hyphen = uuid.UUID("fbffffff-ffff-4fff-bfff-ffffffffffff")
    monkeypatch.setattr(uuid, "uuid4", lambda: with_hyphen)
    kafka_argv(tmp_path, PORTS["kafka"], PORTS["kafka"] + 1)
    made = (tmp_path / "log/meta.properties").read_text()
    assert "cluster.id=-" in made


@pytest.mark.infra
def test_those_that_were_chosen_are_started_again_and_no_others(infra: Infra) -> None:
    offset = free_port_offset([PORTS["redis"]])
    infra.run("up", "--only", "redis", "--with", "mysql", "--port-offset", str(offset))
    before = infra.read()
    assert set(before["pids"]) == {"redis"}
    assert "mysql" not in before
    os.kill(before["pids"]["redis"], signal.SIGKILL)
    infra.run("up")
    after = infra.read()
    assert {**after, "pids": 0} == {**before, "pids": 0}

    command = [str(INFRA), "up", "--data", str(infra.data), "--only", "etcd"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "run with --only redis; end them" in refused.stderr


@pytest.mark.parametrize(
    "pair", [("mysql", "galera"), ("redis-cluster", "redis-sentinel"), ("mysql", "tls")]
)
def test_what_would_run_in_the_place_of_one_another_is_refused(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    one, other = pair
    command = [str(INFRA), "up", "--data", str(tmp_path / "data"), "--with", one, "--with", other]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"--with {one} and --with {other} exclude each other" in done.stderr
    assert not (tmp_path / "data" / "infra.yaml").exists()


def test_with_tls_there_is_nothing_that_speaks_in_the_clear() -> None:
    """And what was named goes before what it stands for."""
    found = described(port_offset=0, variants=["redis-sentinel", "tls"])
    assert found["redis"]["type"] == "sentinel"
    for kind, asks in (("mysql", "tls_ca_file"), ("kafka", "tls_ca_file"), ("redis", "tls_ca_file"),
                       ("etcd", "ca_cert_file"), ("rpc_tls", "ca_cert_file")):  # fmt: skip
        assert found[kind][asks], kind
