#!/usr/bin/env bash
# aiokafka 0.14.0 with enable_idempotence, and kafka-python 3.0.12 as it is (where that is the default), with Apache
# Kafka 4.1.0: once the broker has refused one record, nothing more is sent. aiokafka gets OutOfOrderSequenceNumber for
# all that follows to that partition, kafka-python gives the error of that record to each later one, of all topics.
#
# One would expect that who sent the bad record (above its topic's max.message.bytes, without a key for a compacted
# topic, with a time too far ahead) gets the error, and that the next record is taken, as without idempotence, and as by
# confluent-kafka with it and by Java's producer. But aiokafka has counted the refused record, so that the broker
# misses a number from then on, and nothing begins a new count; kafka-python takes any error that is not worth a
# repetition as the end of the producer. So one user's record is everybody's outage, which lasts until the process is
# started anew, and with kafka-python each later error blames a record that is fine ("too
# large", for a byte). A new producer after each error is what helps.
#
# Seen, to two topics, a byte, 5,000 bytes where 1,000 are allowed, and then a byte to each: confluent-kafka 2.16.1:
# refused only the large one; aiokafka: the large one, and then OutOfOrderSequenceNumber for that topic; kafka-python:
# MessageSizeTooLargeError for the large one and for all after it. Without idempotence: only for the large one.
# Exits 1 when that is no longer so. Needs Maven and Java 17 or newer; the first run fetches Kafka's jars (100 MB).
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q aiokafka==0.14.0 confluent-kafka==2.16.1 kafka-python==3.0.12
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
import kafka
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError

AT = f"127.0.0.1:{sys.argv[1]}"
# What is sent: a topic, and how many bytes.
SENT = (("small", 1), ("other", 1), ("small", 5_000), ("small", 1), ("other", 1), ("small", 1), ("other", 1))
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
    small = NewTopic("small", 1, 1, topic_configs={"max.message.bytes": "1000"})
    await admin.create_topics([small, NewTopic("other", 1, 1)])
    await admin.close()
    await asyncio.sleep(1)


def told(answer):
    """What became of a record."""
    try:
        answer()
    except Exception as error:
        return type(error).__name__
    return "ok"


async def with_aiokafka(idempotent):
    async with AIOKafkaProducer(bootstrap_servers=AT, enable_idempotence=idempotent) as producer:
        said = []
        for topic, size in SENT:
            sending = asyncio.wait_for(producer.send_and_wait(topic, b"x" * size), 20)
            (answer,) = await asyncio.gather(sending, return_exceptions=True)
            said.append(type(answer).__name__ if isinstance(answer, Exception) else "ok")
        return said


def with_kafka_python(**settings):
    producer = kafka.KafkaProducer(bootstrap_servers=AT, **settings)
    said = [told(lambda t=topic, n=size: producer.send(t, b"x" * n).get(20)) for topic, size in SENT]
    producer.close()
    return said


def with_confluent():
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": AT, "enable.idempotence": True, "log_level": 2})
    said = []
    for topic, size in SENT:
        producer.produce(topic, b"x" * size, on_delivery=lambda error, _: said.append(error and error.name()))
        assert producer.flush(20) == 0
    return [error or "ok" for error in said]


async def main():
    await make_topics()
    ok, large = "ok", "MessageSizeTooLargeError"
    seen = {
        "confluent-kafka": with_confluent(),
        "aiokafka": await with_aiokafka(True),
        "aiokafka, not idempotent": await with_aiokafka(False),
        "kafka-python": with_kafka_python(),
        "kafka-python, not idempotent": with_kafka_python(enable_idempotence=False),
    }
    print("sent:", ", ".join(f"{topic} {size}" for topic, size in SENT))
    for name, said in seen.items():
        print(f"{name}: {', '.join(said)}")
    lost = "OutOfOrderSequenceNumber"
    alone = [ok, ok, large, ok, ok, ok, ok]
    return list(seen.values()) == [
        [ok, ok, "MSG_SIZE_TOO_LARGE", ok, ok, ok, ok],
        [ok, ok, large, lost, ok, lost, ok],
        alone,
        [ok, ok, large, large, large, large, large],
        alone,
    ]


sys.exit(0 if asyncio.run(main()) else 1)
PY
venv/bin/python show.py "$port"
