#!/usr/bin/env bash
# confluent-kafka 2.16.1, confluent_kafka.aio.AIOProducer, nothing set but enable.idempotence: messages of one task to
# one partition, each produce() awaited before the next, are in the log in another order, when other tasks use the
# producer for other topics.
#
# One would expect the order of the calls, which is what a partition is for, what enable.idempotence promises even with
# repetitions, and what confluent_kafka.Producer, aiokafka and Java's producer keep. But produce() puts a message into a
# list in Python, and whoever makes it a thousand sorts the list by topic and partition and hands over one group after
# the other, each in a thread that is waited for. Nobody is kept from filling and handing over the next list meanwhile,
# and then a group of the later list comes before the last groups of the earlier one. So a chat's answer is stored
# before its question, with no error and no log; the more topics (or partitions that are named), the more often. A test
# with one or two topics finds next to nothing. One thread (max_workers=1) does not help, as the lists still take turns;
# an asyncio.Lock around produce(), with buffer_timeout=0, does, as only one list is then on its way.
#
# Shown with the broker for tests that librdkafka has inside. Seen, 200 topics with a task and 200 messages each: 3414
# times a message got a lower offset than the one before it; with one thread 3401; with two topics 0 to 3; with the lock
# 0; confluent_kafka.Producer 0.
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

from confluent_kafka import Producer
from confluent_kafka.aio import AIOProducer

CONFIG = {"test.mock.num.brokers": 1, "enable.idempotence": True, "log_level": 0}
MESSAGES = 40_000


def turned(offsets):
    """How often a message is in the log before the one that was produced before it."""
    return sum(later < earlier for earlier, later in zip(offsets, offsets[1:]))


async def asyncio_producer(topics, *, lock=None, **settings):
    producer = AIOProducer(dict(CONFIG), **settings)

    async def one_task(topic):
        answers = []
        for number in range(MESSAGES // topics):
            async with lock or contextlib.nullcontext():
                answers.append(await producer.produce(topic, b"%d" % number, key=b"k"))
            await asyncio.sleep(0)
        return answers

    sent = await asyncio.gather(*(one_task(f"t{topic}") for topic in range(topics)))
    await producer.flush()
    delivered = [[await answer for answer in answers] for answers in sent]
    await producer.close()
    assert all(len({message.partition() for message in messages}) == 1 for messages in delivered)
    return sum(turned([message.offset() for message in messages]) for messages in delivered)


async def plain_producer(topics):
    producer = Producer(dict(CONFIG))

    async def one_task(topic):
        offsets = []
        for number in range(MESSAGES // topics):
            producer.produce(
                topic, b"%d" % number, key=b"k", on_delivery=lambda _, message: offsets.append(message)
            )
            producer.poll(0)
            await asyncio.sleep(0)
        return offsets

    sent = await asyncio.gather(*(one_task(f"t{topic}") for topic in range(topics)))
    producer.flush()
    # In the order of their numbers, which is that of the calls.
    ordered = [sorted(messages, key=lambda message: int(message.value())) for messages in sent]
    assert sum(map(len, ordered)) == MESSAGES
    return sum(turned([message.offset() for message in messages]) for messages in ordered)


async def main():
    many = await asyncio_producer(200)
    one_thread = await asyncio_producer(200, max_workers=1)
    two = await asyncio_producer(2)
    locked = await asyncio_producer(200, lock=asyncio.Lock(), buffer_timeout=0)
    plain = await plain_producer(200)
    print(f"out of order, of {MESSAGES}: 200 topics {many}, with one thread {one_thread}, two topics {two},")
    print(f"200 topics with a lock {locked}, confluent_kafka.Producer {plain}")
    return min(many, one_thread) > 500 and two < 50 and locked == plain == 0


sys.exit(0 if asyncio.run(main()) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
