"""The system that is measured: one of its own, or one that runs already."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from im_bench.report import Failed
from im_local.paths import ROOT
from im_local.testing import Ready, System, free_port_offset


@contextmanager
def target(
    *,
    data: Path | None,
    ready: Path | None,
    infra: Path | None,
    env: Mapping[str, str],
    scale: Mapping[str, int],
) -> Iterator[Ready]:
    """Starts the system (unless ``ready`` names one), with so many instances of some services, and
    ends it after the block.

    Raises RuntimeError when it does not start.
    """
    if ready is not None:
        described = json.loads(ready.read_text(encoding="utf-8"))
        # It may be an older one, to compare with.
        described = {"ws_gateways": [described["ws"]], "dev": {}} | described
        yield _with_servers(Ready(**described), infra)
        return
    with ExitStack() as stack:
        if data is None:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="im-bench-")))
        infra = infra.absolute() if infra else None
        system = stack.enter_context(System.start(data, infra=infra, env=env, scale=scale))
        yield _with_servers(system.ready, infra)


def _with_servers(ready: Ready, infra: Path | None) -> Ready:
    """With the pids of the servers too, and our own: all of them share the cores."""
    if infra is not None:
        named = yaml.safe_load(infra.read_text(encoding="utf-8")).get("pids", {})
        ready.pids.update(named)
    # Of an earlier version it is among them.
    ready.pids.setdefault("supervisor", ready.supervisor)
    ready.pids["load generator"] = os.getpid()
    return ready


@contextmanager
def own_servers() -> Iterator[Path]:
    """New MariaDB, Kafka, Redis and etcd, as long as the block lasts: the file that names them.
    The tool is this checkout's: an older one may not know this machine. Raises Failed."""
    infra = str(ROOT / "scripts/infra")
    with tempfile.TemporaryDirectory(prefix="im-servers-") as data:
        must(infra, "up", "--data", data, "--port-offset", str(free_port_offset()))
        try:
            yield Path(data) / "infra.yaml"
        finally:
            must(infra, "down", "--data", data)


def must(*command: str, env: Mapping[str, str] | None = None) -> None:
    """Runs it to its end. Raises Failed with what it said when that is bad."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {(done.stderr or done.stdout)[-2000:]}")
