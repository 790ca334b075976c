#!/usr/bin/env bash
# confluent-kafka 2.16.1, confluent_kafka.aio.AIOConsumer: a poll() or consume() that was cancelled goes on in its thread.
# What it finds then is given to nobody, and its offset is committed.
#
# One would expect that `async with asyncio.timeout(1): await consumer.poll()` takes nothing when it times out, as
# asyncio.Queue.get() takes nothing, and that a wait can be cancelled is what one has asyncio for. But cancelling ends the
# waiting alone: the thread stays in librdkafka's poll, for ever without a timeout of its own, takes the next message
# that comes, and throws it away; librdkafka counts it as given out, and the automatic commit makes that last. With
# consume() it is the whole batch. So each round of a loop with a limit around poll(), or with a task for poll() that is
# cancelled when something else comes first, loses one message when it was quiet for a while, and nothing tells of it.
# With messages all the time, as in tests, none is lost. What the limit is given to as an argument, poll(1), is safe.
#
# Shown with the broker for tests that librdkafka has inside; five messages come after a wait that was given up. Seen:
# asyncio.timeout around poll(): 4 given, committed 5; around consume(100, 2): 0 given, committed 5; around
# poll(timeout=0.3), which ends before: 5 given, committed 5.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q confluent-kafka==2.16.1
cat >"$folder/show.py" <<'PY'
import asyncio
import contextlib
import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.aio import AIOConsumer

MESSAGES = 5
producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
AT = ",".join(f"{broker.host}:{broker.port}" for broker in producer.list_topics(timeout=10).brokers.values())


def send(topic, count):
    for number in range(count):
        producer.produce(topic, b"%d" % number, partition=0)
    assert producer.flush(10) == 0


async def given(name, wait):
    """What is given and committed of messages that come after a wait that was cancelled or has ended."""
    settings = {"bootstrap.servers": AT, "group.id": name, "log_level": 0}
    consumer = AIOConsumer(settings | {"auto.offset.reset": "earliest"})
    await consumer.subscribe([name])
    send(name, 1)
    assert await consumer.poll(20)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.6):
            assert not await wait(consumer)
    send(name, MESSAGES)
    values = []
    while message := await consumer.poll(5):
        values.append(int(message.value()))
    await consumer.close()
    plain = Consumer(settings)
    (place,) = await asyncio.to_thread(plain.committed, [TopicPartition(name, 0)], 10)
    plain.close()
    committed = place.offset - 1
    print(f"{name}: given {values}, committed {committed} of {MESSAGES}")
    return len(values), committed


async def main():
    seen = [
        await given("poll", lambda consumer: consumer.poll()),
        await given("consume", lambda consumer: consumer.consume(100, 2)),
        await given("poll-0.3", lambda consumer: consumer.poll(0.3)),
    ]
    return seen == [(MESSAGES - 1, MESSAGES), (0, MESSAGES), (MESSAGES, MESSAGES)]


sys.exit(0 if asyncio.run(main()) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
