"""The real servers: how each is made ready once, started, and known to be ready."""

import base64
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from im_local import probes
from im_local.files import secret_once, write_atomically
from im_local.install import KAFKA_LIBS, program
from im_local.mysql import mysql_argv
from im_local.paths import DataDir
from im_local.ports import HOST
from im_local.probes import Probe
from im_local.servers import etcd_argv, redis_argv
from im_local.sql_servers import account, mariadb_argv, must_run, write_accounts

MYSQL_USER = "im"
# What may run in the place of something else: MySQL instead of MariaDB.
VARIANTS = ("mysql",)
PORTS = {"mysql": 13394, "redis": 16395, "etcd": 12396, "kafka": 19092}

_ETCD_PEER = 12397
_KAFKA_CONTROLLER = 19093
_KAFKA_FILES = Path(__file__).parent / "kafka"
# The first compiler alone: the second one would take a quarter of a small machine for the first
# minute, and brings a broker of this size nothing.
_JVM = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1"]


@dataclass(frozen=True)
class Server:
    """One server; `prepare` blocks, may be run again, and gives the command line."""

    name: str
    folder: Path
    ports: list[int]
    probe: Probe
    prepare: Callable[[], list[str]]


def infra_servers(data: DataDir, *, port_offset: int, variants: Sequence[str]) -> list[Server]:
    """All real servers, with their data below DIR/infra; ``variants`` are some of VARIANTS."""
    folder = data.path / "infra"
    port = {name: base + port_offset for name, base in PORTS.items()}
    peer, controller = _ETCD_PEER + port_offset, _KAFKA_CONTROLLER + port_offset
    redis, etcd, kafka = (folder / name for name in ("redis", "etcd", "kafka"))
    mysql = folder / ("mysql-itself" if "mysql" in variants else "mysql")
    return [
        Server(
            "mysql",
            mysql,
            [port["mysql"]],
            probes.mysql(port["mysql"]),
            lambda: _mysql(mysql, port["mysql"], data.secrets, variants),
        ),
        Server(
            "redis",
            redis,
            [port["redis"]],
            probes.redis(port["redis"]),
            lambda: redis_argv(program("redis-server"), port["redis"], redis),
        ),
        Server(
            "etcd",
            etcd,
            [port["etcd"], peer],
            probes.etcd(port["etcd"]),
            lambda: etcd_argv(port=port["etcd"], peer_port=peer, folder=etcd / "data"),
        ),
        Server(
            "kafka",
            kafka,
            [port["kafka"], controller],
            probes.kafka(port["kafka"]),
            lambda: _kafka(kafka, port["kafka"], controller),
        ),
    ]


def _mysql(folder: Path, port: int, secrets: Path, variants: Sequence[str]) -> list[str]:
    password = secret_once(secrets / "mysql_password", bytes_of_entropy=24)
    statements = account(MYSQL_USER, password, r"ALL PRIVILEGES ON `im\_%`.*")
    if "mysql" not in variants:
        accounts = write_accounts(secrets / "mysql_account.sql", statements)
        return mariadb_argv(folder, port, accounts)
    # It has no password at first.
    statements.append("ALTER USER root@localhost ACCOUNT LOCK")
    return mysql_argv(folder, port, write_accounts(secrets / "mysql_account.sql", statements))


def _kafka(folder: Path, port: int, controller: int) -> list[str]:
    properties = folder / "server.properties"
    addresses = {
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "log.dirs": str(folder / "log"),
    }
    fixed = (_KAFKA_FILES / "server.properties").read_text(encoding="utf-8")
    lines = "".join(f"{key}={value}\n" for key, value in addresses.items())
    write_atomically(properties, fixed + lines)
    java = [program("java"), *_JVM]
    java.append(f"-Dlog4j2.configurationFile=file:{_KAFKA_FILES / 'log4j2.properties'}")
    java += ["-cp", f"{KAFKA_LIBS}/*"]
    if not (folder / "log" / "bootstrap.checkpoint").exists():
        _format_kafka(java, folder, properties)
    return [*java, "kafka.Kafka", str(properties)]


def _format_kafka(java: list[str], folder: Path, properties: Path) -> None:
    shutil.rmtree(folder / "log", ignore_errors=True)
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    tool = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
    must_run(*java, *tool)
