#!/usr/bin/env bash
# aiokafka 0.14.0, with Apache Kafka 4.1.0, enable_auto_commit (the default): a message is committed while it is being
# processed. A process that dies in the middle of it has lost it, also when it takes messages one at a time.
#
# One would expect at least once, which the documentation ("Manual vs automatic committing") gives to `async for message in
# consumer` if messages are processed one at a time, and which Java's consumer and kafka-python give: they commit within
# poll(), so what was returned before, and is done with. Here a task of its own commits each auto_commit_interval_ms
# up to the consumer's position, and that is behind a message from the moment that it is given out. Whatever is awaited
# for it (a database, a call) lets that task run, so that of messages that take longer than the interval each one is
# committed before it is done. A kill, a machine that goes down or an exception (`stop()` commits as well) loses
# one message of each consumer, and nothing tells of it.
#
# Seen, five messages, of which the first takes long, and SIGKILL after 2 s: done 0; the next member gets 4, the first of
# them at offset 1; with enable_auto_commit=False 5.
# Exits 1 when that is no longer so. Needs Maven and Java 17 or newer; the first run fetches Kafka's jars (100 MB).
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q aiokafka==0.14.0
cat >pom.xml <<'XML'
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.1.0</version>
  </dependency></dependencies>
</project>
XML
mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
  -DincludeScope=runtime -DoutputDirectory="$folder/jars" >maven.log 2>&1 || { cat maven.log; exit 2; }
read -r port controller < <(python3 -c 'import socket
a, b = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
print(a.getsockname()[1], b.getsockname()[1])')
cat >server.properties <<EOF
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:$controller
log.dirs=$folder/log
num.partitions=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
EOF
java -cp "jars/*" kafka.tools.StorageTool format -t "$(venv/bin/python -c 'import base64, uuid
print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')" -c server.properties >format.log 2>&1
java -Xmx384m -cp "jars/*" kafka.Kafka server.properties >server.log 2>&1 &
server=$!
cat >member.py <<'PY'
"""Takes messages one at a time, and does not get done with the first one."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer

AT, GROUP, AUTO = sys.argv[1], sys.argv[2], sys.argv[2] == "auto"


async def main():
    consumer = AIOKafkaConsumer(
        "orders", bootstrap_servers=AT, group_id=GROUP, auto_offset_reset="earliest",
        enable_auto_commit=AUTO, auto_commit_interval_ms=500, session_timeout_ms=6000,
    )
    await consumer.start()
    async for message in consumer:
        print(f"began {message.offset}", flush=True)
        await asyncio.sleep(60)
        print(f"done {message.offset}", flush=True)


asyncio.run(main())
PY
cat >show.py <<'PY'
import asyncio
import logging
import subprocess
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

AT, COUNT = f"127.0.0.1:{sys.argv[1]}", 5
logging.disable()


async def fill():
    for _ in range(120):
        producer = AIOKafkaProducer(bootstrap_servers=AT)
        try:
            await producer.start()
            break
        except KafkaConnectionError:
            await producer.stop()
            await asyncio.sleep(0.5)
    for number in range(COUNT):
        await producer.send_and_wait("orders", b"%d" % number)
    await producer.stop()


async def left(group):
    """The offsets that the next member gets."""
    consumer = AIOKafkaConsumer("orders", bootstrap_servers=AT, group_id=group, auto_offset_reset="earliest")
    # Joins when the session of the first one has ended.
    await consumer.start()
    offsets = []
    for _ in range(3):
        for messages in (await consumer.getmany(timeout_ms=1000)).values():
            offsets += [message.offset for message in messages]
    await consumer.stop()
    return offsets


async def main():
    await fill()
    seen = []
    for group in ("auto", "manual"):
        argv = [sys.executable, "member.py", AT, group]
        member = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        began = await asyncio.to_thread(member.stdout.readline)
        await asyncio.sleep(2)
        member.kill()
        said = began + member.communicate()[0]
        offsets = await left(group)
        print(f"{group}: killed when it had said {said.split(chr(10))[:-1]}; the next member gets {offsets}")
        seen.append((said, offsets))
    return 0 if seen == [("began 0\n", [1, 2, 3, 4]), ("began 0\n", [0, 1, 2, 3, 4])] else 1


sys.exit(asyncio.run(main()))
PY
venv/bin/python show.py "$port"
