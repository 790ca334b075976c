"""Kafka: one node, or three with passwords and TLS."""

import base64
import shutil
import ssl
import uuid
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from im_local import probes
from im_local.certificates import Certificates, certificates_once
from im_local.files import FileLock, secret_once, write_atomically
from im_local.infra_server import Cluster, Server
from im_local.install import KAFKA_LIBS, program
from im_local.paths import DataDir
from im_local.ports import HOST
from im_local.probes import Probe
from im_local.sql_servers import must_run

_FILES = Path(__file__).parent / "kafka"
# The first compiler alone: the second one would take a quarter of a small machine for the first
# minute, and brings a broker of this size nothing.
_JVM = ["-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1"]
_USER = "im"
NODES = (1, 2, 3)
# Of the first node: for clients, between brokers, between controllers.
_CLIENTS, _BROKERS, _CONTROLLERS = 19101, 19111, 19121


def kafka_argv(folder: Path, port: int, controller: int) -> list[str]:
    """One node that asks for nothing; its command line, after its data was made in ``folder``."""
    addresses = {
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "log.dirs": str(folder / "log"),
    }
    java = _java("-Xms256m", "-Xmx512m")
    return _node(java, folder, "server.properties", addresses, _new_id(), ())


def _cluster_argv(data: DataDir, number: int, port_offset: int) -> list[str]:
    folder = data.path / "infra" / "kafka-cluster"
    password, cluster_id = _shared(data, folder)
    certificates = certificates_once(data.secrets / "tls")
    properties = {
        **_listeners(number, port_offset),
        "ssl.keystore.location": str(certificates.both("server")),
        "ssl.truststore.location": str(certificates.ca),
        "log.dirs": str(folder / str(number) / "log"),
    }
    scram = ("--add-scram", f"SCRAM-SHA-512=[name={_USER},password={password}]")
    java = _java("-Xms96m", "-Xmx384m")
    node = folder / str(number)
    return _node(java, node, "cluster.properties", properties, cluster_id, scram)


def _listeners(number: int, port_offset: int) -> dict[str, str]:
    def at(first: int, node: int) -> str:
        return f"{HOST}:{first + node - 1 + port_offset}"

    told = f"CLIENTS://{at(_CLIENTS, number)},BROKERS://{at(_BROKERS, number)}"
    voters = ",".join(f"{node}@{at(_CONTROLLERS, node)}" for node in NODES)
    return {
        "node.id": str(number),
        "listeners": f"{told},CONTROLLER://{at(_CONTROLLERS, number)}",
        "advertised.listeners": told,
        "controller.quorum.voters": voters,
    }


def _node(
    java: list[str],
    folder: Path,
    fixed: str,
    more: Mapping[str, str],
    cluster_id: str,
    format_options: Iterable[str],
) -> list[str]:
    properties = folder / "server.properties"
    lines = "".join(f"{key}={value}\n" for key, value in more.items())
    write_atomically(properties, (_FILES / fixed).read_text(encoding="utf-8") + lines)
    if not (folder / "log" / "bootstrap.checkpoint").exists():
        shutil.rmtree(folder / "log", ignore_errors=True)
        # It may begin with a dash.
        cluster = f"--cluster-id={cluster_id}"
        tool = ["kafka.tools.StorageTool", "format", cluster, "-c", str(properties)]
        must_run(*java, *tool, *format_options)
    return [*java, "kafka.Kafka", str(properties)]


def _java(*memory: str) -> list[str]:
    settings = f"-Dlog4j2.configurationFile=file:{_FILES / 'log4j2.properties'}"
    return [program("java"), *memory, *_JVM, settings, "-cp", f"{KAFKA_LIBS}/*"]


def _new_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _shared(data: DataDir, folder: Path) -> tuple[str, str]:
    """The clients' password, and the id of the cluster. The nodes are made ready side by side."""
    with FileLock(folder / "lock", wait=True):
        cluster_id = folder / "cluster_id"
        if not cluster_id.exists():
            write_atomically(cluster_id, _new_id())
        password = secret_once(data.secrets / "kafka_password", bytes_of_entropy=24)
        return password, cluster_id.read_text(encoding="utf-8")


def _servers(data: DataDir, port_offset: int) -> list[Server]:
    return [
        Server(
            f"kafka-{number}",
            data.path / "infra" / "kafka-cluster" / str(number),
            [first + number - 1 + port_offset for first in (_CLIENTS, _BROKERS, _CONTROLLERS)],
            _probe(data, _BROKERS + number - 1 + port_offset),
            partial(_cluster_argv, data, number, port_offset),
        )
        for number in NODES
    ]


def _probe(data: DataDir, port: int) -> Probe:
    """True when all brokers are registered and take requests, as this one sees it."""

    async def probe() -> bool:
        made = Certificates(data.secrets / "tls")
        context = ssl.create_default_context(cafile=str(made.ca))
        context.load_cert_chain(made.both("server"))
        return await probes.kafka(port, brokers=len(NODES), tls=context)()

    return probe


def _described(port_offset: int) -> dict[str, Any]:
    return {
        "brokers": [f"{HOST}:{_CLIENTS + number - 1 + port_offset}" for number in NODES],
        "username": _USER,
        "password_file": "secrets/kafka_password",
        "mechanism": "SCRAM-SHA-512",
        "tls": "verify_identity",
        "tls_ca_file": "secrets/tls/ca.pem",
        "replication": 3,
        "min_in_sync": 2,
    }


KAFKA_CLUSTER = Cluster("kafka", _servers, _described)
