#!/usr/bin/env bash
# go-queue 1.2.2 (kq, the Kafka queue of go-zero), with Apache Kafka 4.2.0: a message whose handler returned an error is
# not given again, neither at once nor after a restart; and a message that is being handled when the process is killed
# is lost, once a later one was done.
#
# One would expect at least once: go-zero's page on it says that returning an error makes the message be tried again,
# and that a message which must not come again for ever has to be put elsewhere and answered with nil. But by default
# (ForceCommit: true) the offset is committed after an error as after a success. With ForceCommit: false it is not, and
# the next message that succeeds commits past it, as Kafka knows one offset a partition and no gaps. For the same reason
# up to seven messages are lost with a killed process: eight goroutines (Processors) work on a partition at a time,
# which also changes its order, and each commits its own message when it is done. CommitInOrder: true mends just this,
# and takes no notice of ForceCommit. So who returns the error when the database is away loses what came meanwhile, and
# all that tells of it is a log line each.
#
# Seen, ten messages, of which the first one fails, or is at work when the process is killed, and the others succeed;
# then a new process of the group: it is given nothing of them in each of four cases (error, error with ForceCommit:
# false, error with CommitInOrder: true and ForceCommit: false, at work); at work with CommitInOrder: true: all ten.
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
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/zeromicro/go-queue/kq"
	"github.com/zeromicro/go-zero/core/conf"
)

const messages = 10

// worker BROKER TOPIC SETTINGS (error | work | end): what becomes of the first message, or till when to work.
func main() {
	broker, topic, settings, first := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	var config kq.KqConf
	text := fmt.Sprintf("Name: worker\nLog: {Level: severe}\nBrokers: [%q]\nTopic: %s\nGroup: %s\nOffset: first\n%s",
		broker, topic, topic, settings)
	if err := conf.LoadFromYamlBytes([]byte(text), &config); err != nil {
		panic(err)
	}
	done := make(chan string, 100)
	handle := func(_ context.Context, _, value string) error {
		if value == "0" && first == "work" {
			select {}
		}
		done <- value
		if value == "0" && first == "error" {
			return errors.New("the database is away")
		}
		return nil
	}
	go kq.MustNewQueue(config, kq.WithHandle(handle)).Start()
	timeout := time.After(80 * time.Second)
	given := 0
	for {
		select {
		case value := <-done:
			if value == "end" {
				// What was taken before it is with another goroutine.
				time.Sleep(time.Second)
				fmt.Println(given + len(done))
				os.Exit(0)
			}
			given++
			if first == "error" && given == messages || first == "work" && given == messages-1 {
				waitForCommit(broker, topic)
				if len(done) > 0 {
					panic("given again")
				}
				os.Exit(0)
			}
		case <-timeout:
			panic("no messages")
		}
	}
}

// waitForCommit waits until all is committed, or until it was time for it five times over.
func waitForCommit(broker, topic string) {
	client := &kafka.Client{Addr: kafka.TCP(broker)}
	request := &kafka.OffsetFetchRequest{GroupID: topic, Topics: map[string][]int{topic: {0}}}
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		answer, err := client.OffsetFetch(context.Background(), request)
		if err == nil && answer.Error == nil && answer.Topics[topic][0].CommittedOffset == messages {
			return
		}
	}
}
GO
cat >program/go.mod <<'MOD'
module example.test/worker

go 1.24

require (
	github.com/segmentio/kafka-go v0.4.47
	github.com/zeromicro/go-queue v1.2.2
	github.com/zeromicro/go-zero v1.6.6
)
MOD
export GOPATH="$folder/go" GOFLAGS="-modcacherw -mod=mod"
(cd program && go build -trimpath -o ../worker .) >go.log 2>&1 || { cat go.log; exit 2; }
cat >show.py <<'PY'
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

BROKER = sys.argv[1]
AT = {"bootstrap.servers": BROKER, "log_level": 2}
MESSAGES = 10
CASES = {
    "error": ("error", ""),
    "error-kept": ("error", "ForceCommit: false"),
    "error-kept-in-order": ("error", "ForceCommit: false\nCommitInOrder: true"),
    "work": ("work", ""),
    "work-in-order": ("work", "CommitInOrder: true"),
}


def put(topic, *values):
    producer = Producer(AT)
    for value in values:
        producer.produce(topic, value.encode())
    assert producer.flush(20) == 0


def given_after_the_restart(topic):
    first, settings = CASES[topic]
    put(topic, *map(str, range(MESSAGES)))
    subprocess.run(["./worker", BROKER, topic, settings, first], check=True)
    put(topic, "end")
    again = subprocess.run(
        ["./worker", BROKER, topic, settings, "end"], stdout=subprocess.PIPE, text=True, check=True
    )
    return int(again.stdout)


admin = AdminClient(AT)
for _ in range(60):
    try:
        admin.list_topics(timeout=1)
        break
    except KafkaException:
        time.sleep(0.5)
for made in admin.create_topics([NewTopic(topic, 1, 1) for topic in CASES]).values():
    made.result()
with ThreadPoolExecutor(len(CASES)) as pool:
    given = dict(zip(CASES, pool.map(given_after_the_restart, CASES)))
for topic, count in given.items():
    print(f"{topic}: of {MESSAGES} messages {count} are given after the restart")
told = {"error": 0, "error-kept": 0, "error-kept-in-order": 0, "work": 0, "work-in-order": MESSAGES}
sys.exit(0 if given == told else 1)
PY
venv/bin/python show.py "127.0.0.1:$port"
