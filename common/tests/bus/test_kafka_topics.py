"""Topics on Kafka: how they are made, what becomes of records when they get more partitions, and who is
let in."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from uuid import uuid4

import pytest
from pydantic import SecretStr

from im_common.bus import Bus, BusUnavailable, Record
from im_common.bus.kinds import open_bus
from im_common.runtime.sections import BusConf
from im_common.testing import buses
from im_common.testing.buses import consuming, started
from im_common.testing.kafka import KafkaOperator
from im_common.testing.waiting import eventually

pytestmark = pytest.mark.infra


@pytest.fixture
def conf(kafka_bus: buses.Bus) -> BusConf:
    """As the infra file has it, but for what it says of topics."""
    return kafka_bus.conf.model_copy(update={"replication": 0, "min_in_sync": 0})


def open_(conf: BusConf, **changes: object) -> Bus:
    def no_redis() -> object:
        raise AssertionError("Kafka needs no Redis")

    return open_bus(conf.model_copy(update=changes), no_redis)  # type: ignore[arg-type]


def new_topic() -> str:
    return f"t-{uuid4().hex}"


async def test_a_record_is_safe_though_one_broker_is_lost(conf: BusConf) -> None:
    """Without a word in the settings a topic has three replicas, or as many as there are brokers, and
    a record must be in all but one."""
    topic = new_topic()
    await open_(conf).ensure_topics({topic: 2})
    async with KafkaOperator.connected(conf) as operator:
        replicas = min(3, await operator.brokers())
        partitions = await operator.partitions(topic)
        assert [len(one["replicas"]) for one in partitions] == [replicas] * 2
        in_sync = await operator.setting(topic, "min.insync.replicas")
        assert in_sync == str(max(1, replicas - 1))


async def test_settings_say_how_many_replicas_a_topic_has(conf: BusConf) -> None:
    topic = new_topic()
    await open_(conf, replication=1, min_in_sync=1).ensure_topics({topic: 1})
    async with KafkaOperator.connected(conf) as operator:
        assert [len(one["replicas"]) for one in await operator.partitions(topic)] == [1]
        assert await operator.setting(topic, "min.insync.replicas") == "1"
        more = await operator.brokers() + 1
    topic = new_topic()
    with pytest.raises(BusUnavailable, match=f"{topic} cannot be made: InvalidReplication"):
        await open_(conf, replication=more).ensure_topics({topic: 1})


async def test_partitions_that_are_added_are_used_and_no_record_overtakes_another(
    kafka_bus: buses.Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("consumer", "producer"):
        monkeypatch.setattr(f"im_common.bus.kafka.{module}._METADATA_MAX_AGE_MS", 500)
    monkeypatch.setattr("im_common.bus.kafka.producer._LOOK_EVERY_S", 0.2)
    monkeypatch.setattr("im_common.bus.kafka.producer._USED_AFTER_S", 5.0)
    topic = new_topic()
    await kafka_bus.ensure_topics({topic: 2})
    numbers: dict[bytes, list[int]] = defaultdict(list)
    used: set[int] = set()

    async def take(batch: Sequence[Record]) -> None:
        # Not so quick that there is never anything left in the old ones.
        await asyncio.sleep(0.02)
        for record in batch:
            numbers[record.key].append(int(record.value))
            used.add(record.partition)

    consumer = kafka_bus.consumer([topic])
    async with started(kafka_bus.producer()) as producer, consuming(consumer, take):
        sent = 0

        async def send(rounds: int) -> None:
            nonlocal sent
            for _ in range(rounds):
                for key in range(20):
                    await producer.enqueue(topic, b"k%d" % key, b"%d" % sent)
                sent += 1
                await asyncio.sleep(0.01)

        await send(20)
        async with KafkaOperator.connected(kafka_bus.conf) as operator:
            await operator.add_partitions(topic, 5)
        async with asyncio.timeout(30):
            while not used >= set(range(5)):
                await send(1)
        await send(20)
        await eventually(lambda: all(len(got) >= sent for got in numbers.values()))
    assert numbers == {b"k%d" % key: list(range(sent)) for key in range(20)}


async def test_who_does_not_know_the_password_is_not_let_in(conf: BusConf) -> None:
    if not conf.username:
        pytest.skip("this Kafka asks nobody for a password")
    for changes in (
        {"password": SecretStr("wrong")},
        {"mechanism": "PLAIN"},
        {"username": "", "password": SecretStr("")},
    ):
        with pytest.raises(BusUnavailable):
            await open_(conf, **changes).ensure_topics({new_topic(): 1})


async def test_a_broker_that_does_not_show_who_it_is_is_not_spoken_to(conf: BusConf) -> None:
    if conf.tls == "off":
        pytest.skip("this Kafka speaks no TLS")
    with pytest.raises(BusUnavailable):
        await open_(conf, tls_ca_file="").ensure_topics({new_topic(): 1})
    with pytest.raises(BusUnavailable):
        await open_(conf, tls="off", tls_ca_file="").ensure_topics({new_topic(): 1})


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"Bus\.Tls…File \(none\.pem\)"):
        open_(BusConf(tls="verify_ca", tls_ca_file="none.pem"))
