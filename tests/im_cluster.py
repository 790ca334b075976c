"""Which of several real servers is which."""

from __future__ import annotations

import json
from pathlib import Path

from im_infra import INFRA

from im_common.runtime.sections import BusConf
from im_common.testing.kafka import KafkaOperator
from im_local.etcd_cluster import etcdctl
from im_local.infra_file import Infra, read_infra
from im_local.paths import DataDir

BROKERS = ("kafka-1", "kafka-2", "kafka-3")
MEMBERS = ("etcd-1", "etcd-2", "etcd-3")


def conf_of_kafka() -> BusConf:
    infra = _infra()
    return BusConf.model_validate({"brokers": infra.kafka, **infra.kafka_access})


async def broker_that_leads(topic: str) -> str:
    """The one that leads its first partition."""
    async with KafkaOperator.connected(conf_of_kafka()) as operator:
        return f"kafka-{(await operator.partitions(topic))[0]['leader']}"


def member_that_leads(leads: bool) -> str:
    """The leader, or a follower."""
    hosts = _infra().etcd
    data = DataDir.at(Path(INFRA or "").parent)
    said = etcdctl(data, hosts, "endpoint", "status", "-w", "json", as_root=True)
    for one in json.loads(said):
        host = one["Endpoint"].rpartition("/")[2]
        if (one["Status"]["leader"] == one["Status"]["header"]["member_id"]) == leads:
            return MEMBERS[hosts.index(host)]
    raise AssertionError(f"etcd has no such member: {said}")


def has_ended(pid: int) -> bool:
    """Whether the process is no more; it may wait to be collected."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0]
    except OSError:
        return True
    return state == "Z"


def _infra() -> Infra:
    return read_infra(Path(INFRA or "").resolve())
