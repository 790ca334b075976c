#!/usr/bin/env bash
# aiokafka 0.14.0, with Apache Kafka 4.1.0: when a deserializer raises for one record, `getmany()` raises, and the
# records of other partitions that it had put together for the same answer are lost. They are given to nobody, the
# consumer's position is behind them, and the next `commit()` makes that last.
#
# One would expect what Java's consumer does, and what aiokafka itself does when a fetch fails: what was read of the
# other partitions is returned, and the error comes with the next call; or that all of it is read again. Only the
# partition of the bad record stands still, and the error names neither it nor the offset. So who logs the error and
# goes on, with commits by hand and at least once in mind, skips good records of other partitions in silence, a whole
# fetch of each. With the bytes decoded in one's own loop instead nothing is lost.
#
# Seen, of three partitions with five records each, the third of partition 0 broken: of the 10 records of partitions 1
# and 2 were given 5, or none (it depends on the order in which the partitions came), and committed was offset 5 for
# both; without a deserializer 10 were given.
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
num.partitions=3
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
EOF
java -cp "jars/*" kafka.tools.StorageTool format -t "$(venv/bin/python -c 'import base64, uuid
print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')" -c server.properties >format.log 2>&1
java -Xmx384m -cp "jars/*" kafka.Kafka server.properties >server.log 2>&1 &
server=$!
cat >show.py <<'PY'
import asyncio
import json
import logging
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError

AT, TOPIC, EACH = f"127.0.0.1:{sys.argv[1]}", "shop", 5
PARTITIONS = [TopicPartition(TOPIC, number) for number in range(3)]
BROKEN = (PARTITIONS[0], 2)
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
    for partition in PARTITIONS:
        for offset in range(EACH):
            value = b"{" if (partition, offset) == BROKEN else json.dumps(offset).encode()
            await producer.send_and_wait(TOPIC, value, partition=partition.partition)
    await producer.stop()


async def consume(group, deserializer):
    """Of the other partitions how many records were given and the committed offsets; how many errors there were."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=AT, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest",
        value_deserializer=deserializer,
    )
    await consumer.start()
    consumer.assign(PARTITIONS)
    await asyncio.sleep(1)  # So that all three are fetched.
    given, errors = 0, 0
    for _ in range(5):
        try:
            records = await consumer.getmany(timeout_ms=500)
        except json.JSONDecodeError:
            errors += 1
        else:
            given += sum(len(records.get(partition, ())) for partition in PARTITIONS[1:])
    await consumer.commit()
    committed = [await consumer.committed(partition) for partition in PARTITIONS[1:]]
    await consumer.stop()
    return given, committed, errors


async def main():
    await fill()
    lost = 0
    for attempt in range(15):  # The consumer asks for them in a random order.
        given, committed, errors = await consume(f"with-{attempt}", json.loads)
        print(f"with a deserializer: {errors} errors; of {2 * EACH} records of the partitions without a broken one"
              f" {given} were given; committed {committed}")
        lost = sum(committed) - given
        if lost:
            break
    given, committed, errors = await consume("without", None)
    print(f"without one: {errors} errors, {given} of {2 * EACH} given; committed {committed}")
    return 0 if lost > 0 and given == 2 * EACH else 1


sys.exit(asyncio.run(main()))
PY
venv/bin/python show.py "$port"
