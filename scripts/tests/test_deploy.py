"""The compose file says what the services understand, and can be scaled."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from im_local.paths import ROOT
from im_local.processes import SERVICES, VARIABLES, Service

DEPLOY = ROOT / "deploy"
TEXT = (DEPLOY / "docker-compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)["services"]
OURS = {name: s for name, s in COMPOSE.items() if s["image"].startswith("im/")}
SERVING = [name for name, s in OURS.items() if s["command"][0] == "serve"]
# ${NAME:?…}: nothing starts without it; ${NAME:-…}: what it is otherwise; ${NAME:+…}: what it is then.
ASKED = re.compile(r"(?<!\$)\$\{(\w+):([?+-])([^}]*)\}")


def module_of(service: dict[str, Any]) -> str:
    folder: str = service["image"].removeprefix("im/")
    module: str = service["environment"].get("MODULE", folder.replace("-", "_"))
    return module


def built(service: dict[str, Any]) -> dict[str, Any]:
    """The arguments with which its image is built."""
    found = [s["build"]["args"] for s in OURS.values() if "build" in s and same(s, service)]
    arguments: dict[str, Any] = found[0]
    assert all(other == arguments for other in found)
    return arguments


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["image"] == other["image"])


def process_of(service: dict[str, Any]) -> Service:
    (process,) = [p for p in SERVICES if p.module == module_of(service)]
    return process


def example() -> dict[str, str]:
    """What .env.example sets."""
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name: value for name, _, value in pairs}


def as_it_comes(asked: re.Match[str]) -> str:
    """What a value is with .env as make-env writes it."""
    return {"?": "x" * 40, "-": asked[3], "+": ""}[asked[2]]


@pytest.mark.parametrize("process", SERVICES, ids=lambda process: process.name)
def test_each_process_is_there(process: Service) -> None:
    """With its folder, its settings, its ports and its database, brought up to date before."""
    (service,) = [OURS[name] for name in SERVING if module_of(OURS[name]) == process.module]
    assert service["image"] == f"im/{process.folder}"
    assert built(service)["SERVICE"] == process.folder
    assert built(service)["MODULE"] == process.package
    assert service["command"] == ["serve", "-f", f"/etc/im/{process.config}"]
    environment = service["environment"]
    listens = {VARIABLES[what]: f"0.0.0.0:{port}" for what, port in process.ports.items()}
    assert {name: environment.get(name) for name in listens} == listens
    operator = environment.get("IM_DEV_SERVER__PORT", built(service)["OPERATOR_PORT"])
    assert operator == process.operator
    source = environment.get("IM_DB__DATA_SOURCE", "")
    assert source.rpartition("/")[2] == process.database
    if process.database:
        migrating = [name for name in service["depends_on"] if name.endswith("-migrate")]
        assert [OURS[name]["environment"]["IM_DB__DATA_SOURCE"] for name in migrating] == [source]
    initial = (DEPLOY / "mysql-init.sql").read_text()
    assert not process.database or process.database in initial


@pytest.mark.parametrize("image", sorted({service["image"] for service in OURS.values()}))
def test_each_image_is_built_in_one_place(image: str) -> None:
    """Of two builds one would have the name, and the next `up` end what runs from the other."""
    assert len([s for s in OURS.values() if s["image"] == image and "build" in s]) == 1


@pytest.mark.parametrize("name", SERVING)
def test_a_service_accepts_its_settings(name: str) -> None:
    service: dict[str, Any] = OURS[name]
    config = ROOT / process_of(service).config_file
    values = {
        key: ASKED.sub(as_it_comes, str(value))
        for key, value in service["environment"].items()
        if key.startswith("IM_")
    }
    done = subprocess.run(
        [sys.executable, "-m", module_of(service), "config", "validate", "-f", config],
        env={"PATH": os.environ["PATH"], **values},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", OURS)
def test_the_files_of_tls_are_where_its_settings_say(name: str) -> None:
    """Once IM_RPC_TLS turns it on; also the commands that run once read the settings."""
    mounts = [one.split(":") for one in OURS[name]["volumes"] if ":" in one]
    (mount,) = [m for m in mounts if m[0] == "./rpc-tls"]
    assert (DEPLOY / mount[0]).is_dir()
    assert mount[2] == "ro"
    for what in ("CA_CERT", "CERT", "CERT_KEY"):
        value = OURS[name]["environment"][f"IM_RPC_TLS__{what}_FILE"]
        (asked,) = [m for m in ASKED.finditer(value) if m[2] == "+"]
        assert asked[1] == "IM_RPC_TLS"
        assert asked[3].startswith(f"{mount[1]}/")


@pytest.mark.parametrize("name", SERVING)
def test_any_service_can_be_scaled(name: str) -> None:
    """It has no name and no port of the host to itself, and tells others its own address."""
    service = OURS[name]
    assert not service.keys() & {"ports", "container_name", "hostname"}
    assert "IM_ADVERTISE_ON" not in service["environment"]


@pytest.mark.parametrize("name", OURS)
def test_a_process_of_ours_can_do_no_more_than_it_must(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "user" not in service, "the image says it"


@pytest.mark.parametrize("name", COMPOSE)
def test_every_service_is_bounded_and_started_again(name: str) -> None:
    service = COMPOSE[name]
    assert service["mem_limit"]
    once = name.endswith(("-migrate", "-keys", "-bucket"))
    assert service["restart"] == ("no" if once else "unless-stopped")


@pytest.mark.parametrize("name", SERVING)
def test_a_service_waits_for_what_it_needs(name: str) -> None:
    needed = OURS[name]["depends_on"]
    assert all(
        how["condition"]
        == (
            "service_completed_successfully"
            if n.endswith(("-migrate", "-keys"))
            else "service_healthy"
        )
        for n, how in needed.items()
    )


def test_no_secret_has_a_default() -> None:
    """What must be set is in .env.example without a value, and all else there has a place."""
    asked = {name: how for name, how, _ in ASKED.findall(TEXT)}
    required = {name for name, how in asked.items() if how == "?"}
    given = example()
    assert required <= given.keys()
    assert not [name for name in required if given[name]]
    assert asked.keys() == given.keys() - {"COMPOSE_PROFILES"}
    for secret in re.findall(r"^\s+\w*(?:PASSWORD|SECRET|SECRET_KEY): (.*)$", TEXT, re.MULTILINE):
        assert "?run deploy/make-env" in secret


def test_the_secrets_are_made_once(tmp_path: Path) -> None:
    for name in ("make-env", ".env.example"):
        shutil.copy(DEPLOY / name, tmp_path)
    written = tmp_path / ".env"
    written.write_text("IM_MYSQL_PASSWORD=mine\nIM_REDIS_PASSWORD=\nIM_HTTP_PORT=80")
    subprocess.run([tmp_path / "make-env"], check=True, capture_output=True)
    first = written.read_text()
    subprocess.run([tmp_path / "make-env"], check=True, capture_output=True)
    assert written.read_text() == first
    values = dict(
        line.split("=", 1) for line in first.splitlines() if line and not line.startswith("#")
    )
    assert values.keys() == example().keys()
    assert values.pop("IM_MYSQL_PASSWORD") == "mine"
    assert values.pop("IM_HTTP_PORT") == "80"
    secrets = [v for n, v in values.items() if re.search("_(PASSWORD|SECRET|KEY)$", n)]
    assert len(secrets) == 6
    assert len(set(secrets)) == 6
    assert all(len(secret) == 48 for secret in secrets)
    assert written.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["mysqldump", "mariadb-dump"])
def test_a_backup_is_made_by_the_programs_that_are_there(tmp_path: Path, name: str) -> None:
    """MariaDB's have had MySQL's names as well for long, and have no more where it is new."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for used in ("bash", "dirname", "gzip", "mv"):
        (folder / used).symlink_to(shutil.which(used) or used)
    program = folder / name
    program.write_text('#!/bin/sh\necho "all of $*"\n')
    program.chmod(0o755)
    file = tmp_path / "im.sql.gz"
    command = [DEPLOY / "backup", "save", file, "--defaults-file", tmp_path / "client.cnf"]
    environ = {"PATH": str(folder)}
    bash = str(folder / "bash")
    subprocess.run([bash, *command], env=environ, check=True, capture_output=True)
    with gzip.open(file, "rt") as dump:
        assert dump.read().startswith(f"all of --defaults-file={tmp_path}/client.cnf --single-tra")
