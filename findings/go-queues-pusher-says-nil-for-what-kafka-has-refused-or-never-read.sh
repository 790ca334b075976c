#!/usr/bin/env bash
# go-queue 1.2.2 (kq, the Kafka queue of go-zero), with Apache Kafka 4.2.0: a Pusher, also one made WithSyncPush,
# answers nil for messages that Kafka has refused or never read.
#
# One would expect of a synchronous push which answers an error or nil that nil means stored, as it does with Java's
# producer, librdkafka and kafka-go's NewWriter, which all ask for the acknowledgement of all replicas unless told
# otherwise. But the Pusher makes a kafka.Writer{} that asks for none (acks=0), says so nowhere, and has no option to
# change it. So a message is done when the kernel has taken it. What is larger than the topic allows is gone, at each
# try, and only the broker's log tells of it; and a broker that is killed, or hangs and is replaced, takes along what
# was on its way, with three replicas as with one. An outbox that deletes what was pushed loses events. What helps is to
# write with kafka-go itself, and RequireAll.
#
# Seen: five messages to a broker that hangs, and is killed then: nil five times, none stored; one above the topic's
# max.message.bytes: nil, not stored; kafka-go with RequireAll: an error each time.
# Exits 1 when that is no longer so. Needs Maven, Java 17 and Go 1.24 or newer; the first run fetches Kafka's jars (100
# MB).
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill -KILL "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
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
group.initial.rebalance.delay.ms=0
EOF
java -cp "jars/*" kafka.tools.StorageTool format -t "$(venv/bin/python -c 'import base64, uuid
print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')" -c server.properties >format.log 2>&1
start() {
  java -Xmx384m -cp "jars/*" kafka.Kafka server.properties >>server.log 2>&1 &
  server=$!
}
start
mkdir program
cat >program/main.go <<'GO'
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/zeromicro/go-queue/kq"
)

// push BROKER (hang | large): pushes to a broker that is hung up after the first message, or what it does not take.
func main() {
	broker, what := os.Args[1], os.Args[2]
	ctx := context.Background()
	pusher := kq.NewPusher([]string{broker}, "events", kq.WithSyncPush())
	careful := &kafka.Writer{
		Addr: kafka.TCP(broker), Topic: "events", RequiredAcks: kafka.RequireAll, MaxAttempts: 1,
		ReadTimeout: 2 * time.Second, BatchTimeout: time.Millisecond,
	}
	if what == "hang" {
		fmt.Println("before:", pusher.Push(ctx, "before"))
		bufio.NewReader(os.Stdin).ReadString('\n')
		for range 5 {
			fmt.Println("hang:", pusher.Push(ctx, "hang"))
		}
		fmt.Println("hang, RequireAll:", failed(careful.WriteMessages(ctx, kafka.Message{Value: []byte("hang")})))
		return
	}
	large := make([]byte, 5000)
	rand.Read(large)
	fmt.Println("large:", pusher.Push(ctx, string(large)))
	fmt.Println("large, RequireAll:", failed(careful.WriteMessages(ctx, kafka.Message{Value: large})))
}

func failed(err error) string {
	if err == nil {
		return "<nil>"
	}
	return "error"
}
GO
cat >program/go.mod <<'MOD'
module example.test/push

go 1.24

require (
	github.com/segmentio/kafka-go v0.4.47
	github.com/zeromicro/go-queue v1.2.2
	github.com/zeromicro/go-zero v1.6.6
)
MOD
export GOPATH="$folder/go" GOFLAGS="-modcacherw -mod=mod"
(cd program && go build -trimpath -o ../push .) >go.log 2>&1 || { cat go.log; exit 2; }
cat >topic.py <<'PY'
"""topic.py BROKER make | stored VALUE: make the topic, or tell what is in it, from its begin to the value."""
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

at = {"bootstrap.servers": sys.argv[1], "log_level": 2}
admin = AdminClient(at)
for _ in range(60):
    try:
        admin.list_topics(timeout=1)
        break
    except KafkaException:
        time.sleep(0.5)
if sys.argv[2] == "make":
    topic = NewTopic("events", 1, 1, config={"max.message.bytes": "2000"})
    admin.create_topics([topic])["events"].result()
    sys.exit()
last = sys.argv[3]
if last == "end":
    producer = Producer(at)
    producer.produce("events", b"end")
    assert producer.flush(30) == 0
consumer = Consumer(at | {"group.id": "reader", "auto.offset.reset": "earliest", "enable.auto.commit": False})
consumer.subscribe(["events"])
stored, until = [], time.monotonic() + 60
while last not in stored and time.monotonic() < until:
    if (message := consumer.poll(1)) and not message.error():
        stored.append(message.value().decode(errors="replace"))
consumer.close()
print("stored:", *stored)
PY
venv/bin/python topic.py "127.0.0.1:$port" make
mkfifo word
./push "127.0.0.1:$port" hang <word >hang.txt &
push=$!
exec 3>word
venv/bin/python topic.py "127.0.0.1:$port" stored before >/dev/null
kill -STOP "$server"
echo >&3
wait "$push"
kill -KILL "$server"
wait "$server" 2>/dev/null || true
start
venv/bin/python topic.py "127.0.0.1:$port" stored before >/dev/null
./push "127.0.0.1:$port" large >large.txt
venv/bin/python topic.py "127.0.0.1:$port" stored end >stored.txt
cat hang.txt large.txt stored.txt
[ "$(cat hang.txt large.txt stored.txt)" = "before: <nil>
hang: <nil>
hang: <nil>
hang: <nil>
hang: <nil>
hang: <nil>
hang, RequireAll: error
large: <nil>
large, RequireAll: error
stored: before end" ]
