"""A podman of one's own, and docker compose that speaks to it, on a Debian machine without Docker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from im_local.console import Console
from im_local.paths import ROOT, TOOLS

COMPOSE_MODULE = "github.com/docker/compose/v2"
COMPOSE_VERSION = "v2.29.7"
COMPOSE = TOOLS / f"docker-compose-{COMPOSE_VERSION}"
STORE = TOOLS / "podman"
# As the compose file and its project are called.
NETWORK = "im_im"
# What there is of networks while they are used, by the name that is given; whichever store they are in.
NETWORKS = Path("/run/containers/networks/aardvark-dns")
INTERFACES = Path("/sys/class/net")
# Of an interface's address, in addr_assign_type: somebody has set it (the kernel's NET_ADDR_SET).
SET = "3"
PACKAGES = ("podman", "netavark", "aardvark-dns", "runc", "debootstrap", "iptables", "iproute2")
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""


class Machine:
    """A podman that answers docker's API on a socket of its own, and compose that speaks to it."""

    def __init__(self, work: Path, console: Console) -> None:
        (work / "containers.conf").write_text(CONTAINERS_CONF)
        (work / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{STORE}"\nrunroot = "{STORE}-run"\n'
        )
        self.work = work
        self.console = console
        self.env = os.environ | {
            "CONTAINERS_CONF": str(work / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(work / "storage.conf"),
            "DOCKER_HOST": f"unix://{work}/podman.sock",
            "DOCKER_BUILDKIT": "0",
            # There is no systemd here, of which podman would have timers for the health checks.
            "DISABLE_HC_SYSTEMD": "true",
        }

    def run(self, *command: str | Path) -> str:
        done = subprocess.run(
            command,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
        return done.stdout

    def install(self) -> None:
        """Podman by apt, compose by Go. What is there already stays."""
        lists = Path("/var/lib/dpkg/info")
        if missing := [name for name in PACKAGES if not any(lists.glob(f"{name}*.list"))]:
            self.console.step(f"installing {', '.join(missing)} (apt)")
            self.run("apt-get", "update", "-qq")
            self.run("apt-get", "install", "-qy", "--no-install-recommends", *missing)
        if not COMPOSE.exists():
            self.console.step(f"building docker compose {COMPOSE_VERSION} (go)")
            module = f"{COMPOSE_MODULE}@{COMPOSE_VERSION}"
            folder = json.loads(self.run("go", "mod", "download", "-json", module))["Dir"]
            self.run("go", "build", "-C", folder, "-o", COMPOSE, "./cmd")

    @property
    def composing(self) -> tuple[str | Path, ...]:
        """The words before those of a command of compose."""
        return COMPOSE, "-f", ROOT / "deploy/docker-compose.yaml", "--env-file", self.work / ".env"

    def compose(self, *words: str) -> str:
        started = time.monotonic()
        said = self.run(*self.composing, *words)
        self.console.step(f"compose {' '.join(words)}: {time.monotonic() - started:.0f} s")
        return said

    def down(self, *words: str) -> None:
        """Ends all of it, also what only a profile has, whose leavings would be in the way of the next
        run: its ports, and its part of the network."""
        self.compose("--profile", "*", "down", *words)

    def is_alone(self) -> None:
        """Raises SystemExit when another store has, or has left, a network of that name: both would
        have one server of names, which would not be asked by what is in the second."""
        if (NETWORKS / NETWORK).exists():
            raise SystemExit(
                f"{NETWORKS / NETWORK}: a network of another checkout's run; end that, or, where"
                " nothing of it runs, remove this file, its bridge (ip link) and its rules"
                " (iptables -t nat)"
            )

    def containers(self, service: str) -> list[dict[str, Any]]:
        """What podman knows of those of a service, running or not."""
        label = f"label=com.docker.compose.service={service}"
        ids = self.run("podman", "ps", "-aq", "--filter", label).split()
        found: list[dict[str, Any]] = json.loads(self.run("podman", "inspect", *ids)) if ids else []
        return found

    @contextmanager
    def running(self) -> Iterator[None]:
        with (self.work / "podman.log").open("wb") as log:
            service = subprocess.Popen(
                ["podman", "system", "service", "-t", "0", self.env["DOCKER_HOST"]],
                env=self.env,
                stdout=log,
                stderr=log,
            )
        ending = threading.Event()
        checker = threading.Thread(target=self._check_health, args=(ending,))
        checker.start()
        try:
            with steady_bridges():
                yield
        finally:
            ending.set()
            checker.join()
            service.terminate()
            service.wait()

    def _check_health(self, ending: threading.Event) -> None:
        """What systemd's timers do elsewhere."""
        while not ending.wait(1):
            listed = subprocess.run(
                ["podman", "ps", "-q"], env=self.env, capture_output=True, text=True, check=False
            )
            for one in listed.stdout.split():
                subprocess.run(
                    ["podman", "healthcheck", "run", one],
                    env=self.env,
                    capture_output=True,
                    check=False,
                )


@contextmanager
def steady_bridges() -> Iterator[None]:
    """Bridges that podman makes meanwhile keep the hardware address that they have at first.

    Netavark before 1.9 gives them none of their own, so each has the lowest of those on it, and
    another one when a container starts or ends. Where no udev fixes it, other containers go on with
    the old one for half a minute or more, in which they do not reach the server of names.
    """
    command = ("ip", "-oneline", "monitor", "link")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as monitor:
        assert monitor.stdout
        keeper = threading.Thread(target=_keep_addresses, args=(monitor.stdout,))
        keeper.start()
        try:
            yield
        finally:
            monitor.terminate()
            keeper.join()


def _keep_addresses(changes: Iterable[str]) -> None:
    for change in changes:
        found = re.match(r"\d+: (podman\d+):", change)
        # It may be gone before it is looked at.
        with suppress(OSError):
            if found and (INTERFACES / found[1] / "addr_assign_type").read_text().strip() != SET:
                address = (INTERFACES / found[1] / "address").read_text().strip()
                command = ("ip", "link", "set", "dev", found[1], "address", address)
                subprocess.run(command, capture_output=True, check=False)
