#!/usr/bin/env bash
# kafka-go 0.4.51 (Go), with Apache Kafka 4.2.0: a Reader with IsolationLevel ReadCommitted gives out the messages of
# transactions that were aborted, and the marks of the transactions' ends as messages of six bytes.
#
# One would expect what it is documented to do: only committed records, and those of no transaction, are visible. But
# the broker does just half of that, in that it holds back what is not decided yet. What was aborted it sends along,
# with a list of it, for the client to leave out, and kafka-go reads the list and forgets it. A test passes, as the
# message of an open transaction is indeed not seen before its end; and then a payment that was taken back is carried
# out, where the producer, the broker and all other clients of the topic agree that there was none. The marks come at
# any IsolationLevel, as soon as a producer in front uses transactions: their value, and their key, are bytes that
# nobody has sent, which look like a poison message. (Its issues 1332 and 216, open since 2024 and 2019.)
#
# Seen, of a message that is committed, one that is aborted, and one that is committed: confluent-kafka gives two;
# kafka-go three, and two marks between them.
# Exits 1 when that is no longer so. Needs Maven, Java 17 and Go 1.24 or newer; the first run fetches Kafka's jars (100
# MB).
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q confluent-kafka==2.16.1
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
mkdir program
cat >program/main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/segmentio/kafka-go"
)

func main() {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{os.Args[1]}, Topic: "payments", IsolationLevel: kafka.ReadCommitted, MaxWait: time.Second,
	})
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	for value := ""; value != "payment 3"; {
		message, err := reader.ReadMessage(ctx)
		if err != nil {
			panic(err)
		}
		value = string(message.Value)
		fmt.Printf("%+q\n", value)
	}
}
GO
cat >program/go.mod <<'MOD'
module example.test/reader

go 1.24

require github.com/segmentio/kafka-go v0.4.51
MOD
export GOPATH="$folder/go" GOFLAGS="-modcacherw -mod=mod"
(cd program && go build -trimpath -o ../reader .) >go.log 2>&1 || { cat go.log; exit 2; }
cat >show.py <<'PY'
import json
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
    transaction("payment 2", producer.abort_transaction)
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


def given_by_kafka_go():
    reader = subprocess.run(["./reader", BROKER], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line.replace(r"\x", r"\u00")) for line in reader.stdout.splitlines()]


prepare()
confluent = given_by_confluent_kafka()
kafka_go = given_by_kafka_go()
print(f"confluent-kafka: {confluent}")
print(f"kafka-go: {kafka_go}")
mark = "\0" * 6
told = ["payment 1", mark, "payment 2", mark, LAST]
sys.exit(0 if confluent == ["payment 1", LAST] and kafka_go == told else 1)
PY
venv/bin/python show.py "127.0.0.1:$port"
