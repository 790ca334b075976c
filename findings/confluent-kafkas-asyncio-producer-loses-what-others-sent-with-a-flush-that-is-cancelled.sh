#!/usr/bin/env bash
# confluent-kafka 2.16.1, confluent_kafka.aio.AIOProducer: when a flush() is cancelled, or a produce() that happens to
# be the one that hands the list over, messages of other tasks are lost. They are never sent, their futures never end,
# and the next flush() and close() say that nothing is left.
#
# One would expect that a limit of time around one's own call (asyncio.timeout, a request that its client gave up) ends
# one's own waiting, and that what others produced is delivered or fails with an error. But the list is emptied first
# and then handed over, one topic and partition after the other, each in a thread that is waited for. It is put back
# after an Exception, which a cancellation is none of: the groups whose turn had not come are in no list any more. Their
# tasks wait for ever, len(producer) is 0, and a process that ends as it should has lost them. The threads are four, and
# flush() and poll() hold one each while they wait for a broker, so that it happens most where time limits do: when
# Kafka is slow.
#
# Shown with the broker for tests that librdkafka has inside; five messages to five topics. Seen: flush() is cancelled
# in its first step: 1 delivered, 4 pending, flush() 0, len() 0, pending after close() too; not cancelled: 5 delivered.
# The same with a produce() that is cancelled: 1 delivered, 4 pending.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q confluent-kafka==2.16.1
cat >"$folder/show.py" <<'PY'
import asyncio
import sys

from confluent_kafka.aio import AIOProducer

TOPICS = 5


async def sent(name, *, by, cancelled):
    producer = AIOProducer({"test.mock.num.brokers": 1, "log_level": 0}, batch_size=TOPICS + 1)
    answers = [await producer.produce(f"t{topic}", b"value") for topic in range(TOPICS)]
    # A produce() makes the list full, and so hands it over.
    step = producer.flush() if by == "flush" else producer.produce("own", b"value")
    other = asyncio.create_task(step)
    await asyncio.sleep(0)
    if cancelled:
        other.cancel()
    await asyncio.wait([other])
    assert other.cancelled() == cancelled
    await asyncio.wait(answers, timeout=3)
    left = await producer.flush(10)
    known = len(producer)
    await producer.close()
    await asyncio.sleep(0.5)
    delivered = sum(answer.done() and answer.exception() is None for answer in answers)
    pending = sum(not answer.done() for answer in answers)
    print(f"{name}: {delivered} delivered, {pending} pending; flush() {left}, len() {known}")
    return (delivered, pending, left, known)


async def main():
    lost = (1, TOPICS - 1, 0, 0)
    return (
        await sent("flush() is cancelled", by="flush", cancelled=True) == lost
        and await sent("produce() is cancelled", by="produce", cancelled=True) == lost
        and await sent("nothing is cancelled", by="flush", cancelled=False) == (TOPICS, 0, 0, 0)
    )


sys.exit(0 if asyncio.run(main()) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
