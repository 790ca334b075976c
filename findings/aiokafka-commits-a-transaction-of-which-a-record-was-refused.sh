#!/usr/bin/env bash
# aiokafka 0.14.0, with Apache Kafka 4.1.0: a transaction is committed though the broker has refused one of its records.
# The others are seen, the refused one is missing, and neither `commit_transaction()` nor the end of
# `async with producer.transaction()` raises.
#
# One would expect that all records of a transaction are seen, or none, and an error in the second case, whether
# or not one has awaited the answer for each record: Java's producer documents that its commit fails if any send did, and
# librdkafka does so too. aiokafka waits for all answers before it commits, and does not look at them. Errors of
# authorization apart, what a broker refuses (a record above the topic's max.message.bytes, one without a key for a
# compacted topic, a time too far ahead) is told to the future that `send()` returned, and to nobody else. So in
# the usual loop of `await producer.send(...)`, which gives up the futures, half a transfer is booked; with
# `send_offsets_to_transaction` the input is then done for good. Awaiting every future inside the block is what helps.
#
# Seen, a debit, and a credit that is larger than its topic allows: aiokafka: no error, 1 debit and 0 credits committed;
# confluent-kafka 2.16.1: commit refused, 0 and 0.
# Exits 1 when that is no longer so. Needs Maven and Java 17 or newer; the first run fetches Kafka's jars (100 MB).
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q aiokafka==0.14.0 confluent-kafka==2.16.1
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
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
EOF
java -cp "jars/*" kafka.tools.StorageTool format -t "$(venv/bin/python -c 'import base64, uuid
print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')" -c server.properties >format.log 2>&1
java -Xmx384m -cp "jars/*" kafka.Kafka server.properties >server.log 2>&1 &
server=$!
cat >show.py <<'PY'
import asyncio
import logging
import sys

import confluent_kafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError

AT = f"127.0.0.1:{sys.argv[1]}"
LARGE = b"x" * 5_000
logging.disable()


async def make_topics():
    for _ in range(120):
        admin = AIOKafkaAdminClient(bootstrap_servers=AT)
        try:
            await admin.start()
            break
        except KafkaConnectionError:
            await admin.close()
            await asyncio.sleep(0.5)
    for name in ("aiokafka", "confluent"):
        small = NewTopic(f"{name}-credit", 1, 1, topic_configs={"max.message.bytes": "1000"})
        await admin.create_topics([NewTopic(f"{name}-debit", 1, 1), small])
    await admin.close()
    await asyncio.sleep(1)


async def with_aiokafka():
    producer = AIOKafkaProducer(bootstrap_servers=AT, transactional_id="first")
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send("aiokafka-debit", b"one")
            await producer.send("aiokafka-credit", LARGE)
    except KafkaError as error:
        return type(error).__name__
    finally:
        await producer.stop()
    return "committed"


def with_confluent():
    producer = confluent_kafka.Producer({"bootstrap.servers": AT, "transactional.id": "second", "log_level": 2})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce("confluent-debit", b"one")
    producer.produce("confluent-credit", LARGE)
    try:
        producer.commit_transaction()
    except confluent_kafka.KafkaException as error:
        producer.abort_transaction()
        return error.args[0].name()
    return "committed"


async def count(topic):
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=AT, auto_offset_reset="earliest", isolation_level="read_committed")
    await consumer.start()
    found = 0
    for _ in range(3):
        found += sum(map(len, (await consumer.getmany(timeout_ms=1000)).values()))
    await consumer.stop()
    return found


async def main():
    await make_topics()
    seen = []
    for name, said in (("aiokafka", await with_aiokafka()), ("confluent", await asyncio.to_thread(with_confluent))):
        debits, credits = await count(f"{name}-debit"), await count(f"{name}-credit")
        print(f"{name}: {said}; debits {debits}, credits {credits}")
        seen.append((said == "committed", debits, credits))
    return 0 if seen == [(True, 1, 0), (False, 0, 0)] else 1


sys.exit(asyncio.run(main()))
PY
venv/bin/python show.py "$port"
