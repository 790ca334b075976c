#!/usr/bin/env bash
# Apache Kafka 4.2.0, share groups (confluent-kafka 2.16.1; Java's KafkaShareConsumer does the same): a consumer that
# takes a batch and is closed before it has worked on anything uses up one of the five attempts of each message of the
# batch. Some restarts within seconds, and messages are gone that nobody has ever worked on.
#
# One would expect that the limit (group.share.delivery.count.limit) counts failures, as it is there for the message
# that makes every worker fail, and that what a consumer gives back unread at a clean end is as it was. But an attempt
# is counted when a message is taken, with the up to 500 that are taken with it, and since 4.2 the end of the consumer
# does not take it back (KAFKA-19972: for those that crash). On the fourth attempt the broker hands out smaller parts,
# so that the neighbours of a bad message are spared; that takes some more restarts, and then they go one by one. So
# workers that take a batch, find their database away and end, to be started again, empty the topic in a minute, with no
# error on either side and nowhere to find it; updates one after the other during a backlog do so, too. A consumer group
# gives all of it again, however often. What helps is to look for what one needs before poll().
#
# Seen, 10 messages, consumers that are closed with what they took: after 18 of them nothing is left, and nothing was
# accepted; a consumer group, started as often: 10.
# Exits 1 when that is no longer so. Needs Maven and Java 17 or newer; the first run fetches Kafka's jars (100 MB).
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
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
EOF
java -cp "jars/*" kafka.tools.StorageTool format -t "$(venv/bin/python -c 'import base64, uuid
print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')" -c server.properties >format.log 2>&1
java -Xmx384m -cp "jars/*" kafka.Kafka server.properties >server.log 2>&1 &
server=$!
cat >show.py <<'PY'
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, ShareConsumer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

AT = {"bootstrap.servers": f"127.0.0.1:{sys.argv[1]}", "log_level": 2}
MESSAGES, QUIET_S = 10, 8


def prepare():
    admin = AdminClient(AT)
    for _ in range(60):
        try:
            admin.list_topics(timeout=1)
            break
        except KafkaException:
            time.sleep(0.5)
    admin.create_topics([NewTopic("jobs", 1, 1)])["jobs"].result()
    earliest = ConfigEntry("share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET)
    group = ConfigResource(ConfigResource.Type.GROUP, "share", incremental_configs=[earliest])
    for done in admin.incremental_alter_configs([group]).values():
        done.result()
    producer = Producer(AT)
    for number in range(MESSAGES):
        producer.produce("jobs", b"job %d" % number)
    assert producer.flush(20) == 0


def taken(poll):
    """What is there, or nothing after a while."""
    until = time.monotonic() + QUIET_S
    while time.monotonic() < until:
        if messages := [message for message in poll() if not message.error()]:
            return messages
    return []


def of_share_group():
    # Nothing is accepted: what was polled is accepted by the next poll() or commit only, and there is none.
    consumer = ShareConsumer(AT | {"group.id": "share"})
    consumer.subscribe(["jobs"])
    messages = taken(lambda: consumer.poll(0.5))
    consumer.close()
    return [(message.value().decode(), message.delivery_count()) for message in messages]


def of_consumer_group():
    consumer = Consumer(
        AT | {"group.id": "plain", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    )
    consumer.subscribe(["jobs"])
    messages = taken(lambda: consumer.consume(MESSAGES, 0.5))
    consumer.close()
    return messages


prepare()
starts = 0
while held := of_share_group():
    starts += 1
    print(f"{starts}: {', '.join(f'{job} (attempt {attempt})' for job, attempt in held)}")
    if starts == 50:
        sys.exit("it goes on and on")
print(f"after {starts} consumers of the share group nothing is left, and nothing was accepted")
left = [len(of_consumer_group()) for _ in range(starts)][-1]
print(f"a consumer group, after as many: {left}")
sys.exit(0 if starts >= 5 and left == MESSAGES else 1)
PY
venv/bin/python show.py "$port"
