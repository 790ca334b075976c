"""Puts on a Debian machine what the real servers need and what it does not have yet."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from im_local.console import Console
from im_local.errors import LocalError
from im_local.files import FileLock, tail
from im_local.paths import TOOLS

KAFKA_VERSION = "4.1.0"
KAFKA_LIBS = TOOLS / f"kafka-{KAFKA_VERSION}" / "libs"

_POM = Path(__file__).parent / "kafka" / "pom.xml"
S3_VERSION = "1.8.0"
S3_SERVER = TOOLS / f"versitygw-{S3_VERSION}" / "versitygw"
_S3_MODULE = "github.com/versity/versitygw/cmd/versitygw"
# What MariaDB loads to be a node of a cluster.
GALERA = "/usr/lib/galera/libgalera_smm.so"

_PACKAGES = {
    "mariadbd": "mariadb-server-core",
    "my_print_defaults": "mariadb-client-core",
    # For deploy/backup.
    "mysqldump": "mariadb-client",
    # With Galera, and what brings a node all that it has not.
    "wsrep_sst_rsync": "mariadb-server",
    "haproxy": "haproxy",
    "redis-server": "redis-server",
    "java": "default-jre-headless",
    "mvn": "maven",
}
# Debian's packages start their service when installed, unless a policy says no.
_APT = """
set -e
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\\nexit 101\\n' > $policy
    chmod 755 $policy
    trap "rm -f $policy" EXIT
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@"
"""


def program(name: str) -> str:
    """The path of a program that `install` made sure of; Debian keeps servers in /usr/sbin."""
    found = _which(name)
    if found is None:
        raise LocalError(f"The program {name} is missing.")
    return found


def install(servers: list[str], *, log: Path, console: Console) -> None:
    """Install what is missing for the servers named (`mysql`, `galera`, `redis`, `kafka`,
    `etcd`, `s3`)."""
    wanted: list[str] = []
    if "mysql" in servers:
        wanted += ["mariadbd", "my_print_defaults", "mysqldump"]
    if "galera" in servers:
        wanted += ["mariadbd", "my_print_defaults", "wsrep_sst_rsync", "haproxy"]
    if "redis" in servers:
        wanted += ["redis-server"]
    if "kafka" in servers:
        wanted += ["java"] if KAFKA_LIBS.exists() else ["java", "mvn"]
    packages = [_PACKAGES[name] for name in wanted if _which(name) is None]
    if packages:
        console.step(f"installing {', '.join(packages)} (apt)")
        _apt_install(packages, log)
    if "kafka" in servers and not KAFKA_LIBS.exists():
        console.step(f"fetching Apache Kafka {KAFKA_VERSION} (maven)")
        _fetch_kafka(log)
    if "s3" in servers and not S3_SERVER.exists():
        console.step(f"building versitygw {S3_VERSION} (go)")
        _build_s3(log)


def _which(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _apt_install(packages: list[str], log: Path) -> None:
    command = ["sh", "-c", _APT, "sh", *packages]
    if os.geteuid() != 0:
        command = ["sudo", "-n", *command]
    if _which("apt-get") is None or _which(command[0]) is None or not _run(command, log):
        raise LocalError(
            f"Could not install {', '.join(packages)}; as root, run:\n"
            f"  apt-get update && apt-get install -y --no-install-recommends {' '.join(packages)}\n"
            f"{tail(log, lines=10)}"
        )


def _fetch_kafka(log: Path) -> None:
    TOOLS.mkdir(exist_ok=True)
    with FileLock(TOOLS / "lock", wait=True):
        if KAFKA_LIBS.exists():
            return
        # Fetched beside its place and moved there whole: a broken fetch leaves nothing half-done.
        part = KAFKA_LIBS.with_name("libs.part")
        shutil.rmtree(part, ignore_errors=True)
        goal = [
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={part}",
        ]
        if not _run([program("mvn"), "-q", "-B", "-f", str(_POM), *goal], log):
            raise LocalError(f"Could not fetch Kafka's jars:\n{tail(log, lines=15)}")
        part.rename(KAFKA_LIBS)


def _build_s3(log: Path) -> None:
    if _which("go") is None:
        raise LocalError(
            "versitygw is built by Go, which is not here; see https://go.dev/doc/install"
        )
    # Go writes the program beside its place and moves it there whole.
    command = ["go", "install", f"{_S3_MODULE}@v{S3_VERSION}"]
    if not _run(command, log, {"GOBIN": str(S3_SERVER.parent)}):
        raise LocalError(f"Could not build versitygw:\n{tail(log, lines=15)}")


def _run(command: list[str], log: Path, more: Mapping[str, str] = {}) -> bool:
    """``more`` is added to the environment."""
    with log.open("ab") as output:
        done = subprocess.run(
            command,
            env={**os.environ, **more},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return done.returncode == 0
