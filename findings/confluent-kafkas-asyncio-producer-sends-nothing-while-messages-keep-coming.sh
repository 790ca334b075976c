#!/usr/bin/env bash
# confluent-kafka 2.16.1, confluent_kafka.aio.AIOProducer, nothing set: while messages come more often than once in
# buffer_timeout (1 s), none of them is sent until there are batch_size (1000) of them.
#
# One would expect what linger.ms is elsewhere, a limit to how long a message waits for others. But each produce()
# starts that time anew, so that only a pause ends it. At two messages a second the first one goes out after eight
# minutes, at ten a second after 100 s, where on a quiet system it is a second and at thousands a second are
# milliseconds: the wait is in between, at an ordinary load. Whoever awaits the delivery waits as long, and a kill loses
# all that is in the list, of which librdkafka and its statistics do not know yet. Who tries it with one task that
# awaits each delivery makes the pauses by that, and sees a second or two; it takes many tasks with a message each, as
# in any server. batch_size=1 is what helps: librdkafka makes batches of its own.
#
# Shown with the broker for tests that librdkafka has inside. Seen, a message each 0.4 s for 12 s: the first one is
# delivered after 14.0 s, when no more came; with batch_size=1 after 0.4 s; a message each 2 s: after 3.0 s.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q confluent-kafka==2.16.1
cat >"$folder/show.py" <<'PY'
import asyncio
import sys
import time

from confluent_kafka.aio import AIOProducer

COMING_S = 12


async def first_waits(every_s, **settings):
    """How long the first message waits for its delivery while others come."""
    producer = AIOProducer({"test.mock.num.brokers": 1, "log_level": 0}, **settings)
    loop = asyncio.get_running_loop()

    async def send():
        began = loop.time()
        await (await producer.produce("topic", b"value"))
        return loop.time() - began

    tasks = []
    until = time.monotonic() + COMING_S
    while time.monotonic() < until:
        tasks.append(asyncio.create_task(send()))
        await asyncio.sleep(every_s)
    waited = await asyncio.gather(*tasks)
    await producer.close()
    return waited[0]


async def main():
    often, one_by_one, seldom = await asyncio.gather(
        first_waits(0.4), first_waits(0.4, batch_size=1), first_waits(2)
    )
    print(f"the first is delivered after: one each 0.4 s {often:.1f} s, with batch_size=1 {one_by_one:.1f} s,")
    print(f"one each 2 s {seldom:.1f} s")
    return often > COMING_S and one_by_one < 3 and seldom < 4


sys.exit(0 if asyncio.run(main()) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
