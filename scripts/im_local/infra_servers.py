"""The real servers: how each is made ready once, started, and known to be ready."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from im_local import probes
from im_local.etcd_cluster import ETCD_CLUSTER
from im_local.files import secret_once
from im_local.galera import GALERA_CLUSTER
from im_local.infra_server import Cluster, Server
from im_local.install import program
from im_local.kafka_servers import KAFKA_CLUSTER, kafka_argv
from im_local.mysql import mysql_argv
from im_local.paths import DataDir
from im_local.ports import HOST
from im_local.redis_servers import REDIS_CLUSTER, REDIS_SENTINEL
from im_local.s3_servers import S3
from im_local.servers import etcd_argv, redis_argv
from im_local.sql_servers import account, mariadb_argv, write_accounts

MYSQL_USER = "im"
CLUSTERS = {
    "galera": GALERA_CLUSTER,
    "kafka-cluster": KAFKA_CLUSTER,
    "etcd-cluster": ETCD_CLUSTER,
    "redis-cluster": REDIS_CLUSTER,
    "redis-sentinel": REDIS_SENTINEL,
    "s3": S3,
}
# All servers with TLS and passwords, and TLS between our own processes.
TLS = "tls"
_WITH_TLS = ("galera", "kafka-cluster", "etcd-cluster", "redis-cluster")
# What may run in the place of something else (MySQL instead of MariaDB, several servers instead of
# one), or besides.
VARIANTS = ("mysql", *CLUSTERS, TLS)
PORTS = {"mysql": 13394, "redis": 16395, "etcd": 12396, "kafka": 19092}

_RPC_TLS = {
    "ca_cert_file": "secrets/tls/ca.pem",
    "cert_file": "secrets/tls/service.pem",
    "cert_key_file": "secrets/tls/service.key",
}
_ETCD_PEER = 12397
_KAFKA_CONTROLLER = 19093


def infra_servers(data: DataDir, *, port_offset: int, variants: Sequence[str]) -> list[Server]:
    """All real servers, with their data below DIR/infra; ``variants`` are some of VARIANTS."""
    clusters = _clusters(variants)
    replaced = {cluster.kind for cluster in clusters}
    servers = _single(data, port_offset, variants)
    servers = [server for server in servers if server.kind not in replaced]
    return servers + [one for cluster in clusters for one in cluster.servers(data, port_offset)]


def described(*, port_offset: int, variants: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the infra file says of each kind of server."""
    port = {name: base + port_offset for name, base in PORTS.items()}
    single: dict[str, dict[str, Any]] = {
        "mysql": {
            "host": HOST,
            "port": port["mysql"],
            "user": MYSQL_USER,
            "password_file": "secrets/mysql_password",
        },
        "kafka": {"brokers": [f"{HOST}:{port['kafka']}"]},
        "redis": {"host": HOST, "port": port["redis"]},
        "etcd": {"hosts": [f"{HOST}:{port['etcd']}"]},
    }
    clusters = {cluster.kind: cluster.described(port_offset) for cluster in _clusters(variants)}
    return single | clusters | ({"rpc_tls": _RPC_TLS} if TLS in variants else {})


def _clusters(variants: Sequence[str]) -> list[Cluster]:
    """Of each kind one; what has been named goes before what TLS stands for."""
    names = [*(_WITH_TLS if TLS in variants else ()), *(n for n in variants if n in CLUSTERS)]
    return list({CLUSTERS[name].kind: CLUSTERS[name] for name in names}.values())


def _single(data: DataDir, port_offset: int, variants: Sequence[str]) -> list[Server]:
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
            lambda: kafka_argv(kafka, port["kafka"], controller),
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
