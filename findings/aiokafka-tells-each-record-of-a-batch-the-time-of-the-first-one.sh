#!/usr/bin/env bash
# aiokafka 0.14.0, with Apache Kafka 4.1.0: `RecordMetadata.timestamp`, what `send()` answers, is that of the first record
# of the batch for all records of the batch.
#
# One would expect the time that the record has in Kafka: what was given as `timestamp_ms`, or when send() was
# called. The record has it, consumers see it; but the batch's answer is made in a loop that overwrites the variable
# which it then takes for what the broker has said. Records that are sent one by one and awaited make batches of one, so
# it is right in tests, and under load it is wrong by as much as a batch spans: where the times are
# those of the events, as when old ones are brought in, by hours. Who keeps it, as the message's time or to seek
# by time later, keeps another record's.
#
# Seen, three records of 09:00, 10:00 and 11:00 in a batch: answered 09:00, 09:00, 09:00; read 09:00, 10:00, 11:00.
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
cat >show.py <<'PY'
import asyncio
import logging
import sys
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

AT, TOPIC = f"127.0.0.1:{sys.argv[1]}", "events"
TIMES = [int(datetime(2026, 1, 1, hour, tzinfo=UTC).timestamp() * 1000) for hour in (9, 10, 11)]
logging.disable()


def told(times):
    return [f"{datetime.fromtimestamp(time / 1000, UTC):%H:%M}" for time in times]


async def main():
    for _ in range(120):
        producer = AIOKafkaProducer(bootstrap_servers=AT, linger_ms=50)
        try:
            await producer.start()
            break
        except KafkaConnectionError:
            await producer.stop()
            await asyncio.sleep(0.5)
    # So that the topic is there.
    await producer.send_and_wait(TOPIC, b"before", timestamp_ms=TIMES[0])
    alone = [(await producer.send_and_wait(TOPIC, b"alone", timestamp_ms=time)).timestamp for time in TIMES]
    answers = [await producer.send(TOPIC, b"together", timestamp_ms=time) for time in TIMES]
    together = [(await answer).timestamp for answer in answers]
    await producer.stop()
    consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=AT, auto_offset_reset="earliest")
    await consumer.start()
    read = [(await consumer.getone()).timestamp for _ in range(7)][-3:]
    await consumer.stop()
    print(f"one by one: answered {told(alone)}; in a batch: answered {told(together)}, read {told(read)}")
    return 0 if alone == read == TIMES and together == TIMES[:1] * 3 else 1


sys.exit(asyncio.run(main()))
PY
venv/bin/python show.py "$port"
