#!/usr/bin/env bash
# aiokafka 0.14.0, with Apache Kafka 4.1.0: `send_offsets_to_transaction` is taken from a member that is no more in its
# group. What another member has done and committed meanwhile is done twice, and the group's offset goes back.
#
# One would expect of the loop that reads, writes and commits its offsets in one transaction that each record is done
# exactly once: whoever stood still for longer than the session timeout (a machine that was moved, a long pause) wakes
# up in the middle of its transaction, and the broker refuses its offsets, as it refuses those of a plain `commit()`
# from the same member. Brokers do since 2.5, if they are told who commits (KIP-447). aiokafka names the group
# alone, in the first version of the request, and takes no consumer to ask; so nothing is fenced unless each partition
# that is read has a producer with a transactional id of its own. confluent-kafka passes the member on, and is refused.
#
# Seen, with two members and ten records, the first stopped (SIGSTOP) until the second had all of them: aiokafka: ten
# records became 15, committed offset 10 and then 5; confluent-kafka 2.16.1: refused, 10, and 10.
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
cat >member.py <<'PY'
"""A member that reads all there is, writes the first records on, and, once it is told, commits that."""

import asyncio
import logging
import sys

import aiokafka
import confluent_kafka

AT, LIBRARY, SOURCE, DONE, COUNT = *sys.argv[1:5], int(sys.argv[5])
GROUP = {"group_id": SOURCE, "enable_auto_commit": False, "auto_offset_reset": "earliest", "session_timeout_ms": 6000}
logging.disable()


def wait_until_told():
    print("ready", flush=True)
    sys.stdin.readline()


async def with_aiokafka(name):
    consumer = aiokafka.AIOKafkaConsumer(SOURCE, bootstrap_servers=AT, isolation_level="read_committed", **GROUP)
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=AT, transactional_id=name)
    await consumer.start()
    await producer.start()
    records = [await consumer.getone() for _ in range(COUNT)]
    await producer.begin_transaction()
    for record in records:
        await producer.send_and_wait(DONE, record.value)
    wait_until_told()
    offsets = {aiokafka.TopicPartition(SOURCE, 0): records[-1].offset + 1}
    await producer.send_offsets_to_transaction(offsets, SOURCE)
    await producer.commit_transaction()
    await consumer.stop()
    await producer.stop()


def with_confluent(name):
    settings = {key.replace("_", "."): value for key, value in GROUP.items()}
    consumer = confluent_kafka.Consumer({"bootstrap.servers": AT, "log_level": 2, **settings})
    producer = confluent_kafka.Producer({"bootstrap.servers": AT, "log_level": 2, "transactional.id": name})
    consumer.subscribe([SOURCE])
    producer.init_transactions()
    records = []
    while len(records) < COUNT:
        records += consumer.consume(COUNT - len(records), timeout=1)
    producer.begin_transaction()
    for record in records:
        producer.produce(DONE, record.value())
    producer.flush()
    member = consumer.consumer_group_metadata()
    wait_until_told()
    offsets = [confluent_kafka.TopicPartition(SOURCE, 0, records[-1].offset() + 1)]
    try:
        producer.send_offsets_to_transaction(offsets, member)
        producer.commit_transaction()
    except confluent_kafka.KafkaException as error:
        producer.abort_transaction()
        print(error.args[0].name(), flush=True)
    consumer.close()


if LIBRARY == "aiokafka":
    asyncio.run(with_aiokafka(f"{SOURCE}-{COUNT}"))
else:
    with_confluent(f"{SOURCE}-{COUNT}")
print("committed", flush=True)
PY
cat >show.py <<'PY'
import asyncio
import logging
import signal
import subprocess
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError

AT = f"127.0.0.1:{sys.argv[1]}"
logging.disable()


def member(library, count):
    argv = [sys.executable, "member.py", AT, library, library, f"{library}-done", str(count)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process):
    """"committed", or the error that it was refused with."""
    return process.communicate("go\n", timeout=60)[0].split()[0]


async def committed(group):
    consumer = AIOKafkaConsumer(bootstrap_servers=AT, group_id=group)
    await consumer.start()
    consumer.assign([TopicPartition(group, 0)])
    await asyncio.sleep(1)  # A transaction's offsets are seen a moment after it was committed.
    offset = await consumer.committed(TopicPartition(group, 0))
    await consumer.stop()
    return offset


async def count(topic):
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=AT, auto_offset_reset="earliest", isolation_level="read_committed")
    await consumer.start()
    found = 0
    for _ in range(4):
        found += sum(map(len, (await consumer.getmany(timeout_ms=1000)).values()))
    await consumer.stop()
    return found


async def show(library):
    admin = AIOKafkaAdminClient(bootstrap_servers=AT)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1) for name in (library, f"{library}-done")])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=AT)
    await producer.start()
    for number in range(10):
        await producer.send_and_wait(library, b"%d" % number)
    await producer.stop()
    first = member(library, 5)
    first.send_signal(signal.SIGSTOP)
    try:
        # Waits until the first one's session has ended.
        second = finish(await asyncio.to_thread(member, library, 10))
        before = await committed(library)
    finally:
        first.send_signal(signal.SIGCONT)
    said = finish(first)
    after, done = await committed(library), await count(f"{library}-done")
    print(f"{library}: the second member {second}, offset {before}; the first one woke up: {said}, offset {after};"
          f" ten records became {done}")
    return before, after, done, said == "committed"


async def main():
    for _ in range(120):
        admin = AIOKafkaAdminClient(bootstrap_servers=AT)
        try:
            await admin.start()
            break
        except KafkaConnectionError:
            await asyncio.sleep(0.5)
        finally:
            await admin.close()
    ours, theirs = await show("aiokafka"), await show("confluent")
    return 0 if ours == (10, 5, 15, True) and theirs == (10, 10, 10, False) else 1


sys.exit(asyncio.run(main()))
PY
venv/bin/python show.py "$port"
