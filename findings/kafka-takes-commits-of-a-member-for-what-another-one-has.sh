#!/usr/bin/env bash
# Apache Kafka 4.2.0, with confluent-kafka 2.16.1: a member of a group commits offsets of a partition that another
# member has, and the broker takes them, also in a transaction.
#
# One would expect a commit to be refused once the partition went to another member: so it is said of Java's
# CommitFailedException and of KIP-447, by which the offsets of a transaction are fenced. But what is compared is the
# member and its epoch (generation) alone, not what it has. A member that goes on to poll(), as it must while its
# workers are busy, gets the new epoch with the rebalance, and from then on its commit is good for every partition, by
# the classic protocol and by that of KIP-848. So when a worker ends with a message that was read before a rebalance,
# the offset of the group goes back, behind what the new owner has done and committed, and whoever gets the partition
# next does all that again, though each member committed only what it had done. In a transaction as well, and so exactly
# once is none, as long as consumer_group_metadata() is asked for where its documentation has it, right at
# send_offsets_to_transaction(). What helps in a transaction is to ask for it when the message is read, for a plain
# commit only to forget what was being done when a partition is revoked.
#
# Seen, with ten messages in each of two partitions, of which the first member has read the first message and the second
# member, after the rebalance, all of one partition: committed 10, then 1 by the first member, and the next member is
# given 9 once more; by both protocols, plain and in a transaction; with the metadata from before the rebalance refused.
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
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
group.consumer.heartbeat.interval.ms=500
group.consumer.min.heartbeat.interval.ms=500
EOF
java -cp "jars/*" kafka.tools.StorageTool format -t "$(python3 -c 'import base64, uuid
print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')" -c server.properties >format.log 2>&1
java -Xmx384m -cp "jars/*" kafka.Kafka server.properties >server.log 2>&1 &
server=$!
cat >show.py <<'PY'
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

AT = {"bootstrap.servers": sys.argv[1], "log_level": 2}
TOPIC = "messages"
MESSAGES = 10
SECONDS = 30


def prepare():
    admin = AdminClient(AT)
    for _ in range(60):
        try:
            admin.list_topics(timeout=1)
            break
        except KafkaException:
            time.sleep(0.5)
    admin.create_topics([NewTopic(TOPIC, 2, 1)])[TOPIC].result()
    producer = Producer(AT)
    for partition in (0, 1):
        for _ in range(MESSAGES):
            producer.produce(TOPIC, b"message", partition=partition)
    producer.flush()


def member(group, protocol):
    settings = {"group.id": group, "group.protocol": protocol, "auto.offset.reset": "earliest"}
    if protocol == "classic":
        settings["heartbeat.interval.ms"] = 500
    consumer = Consumer(AT | settings | {"enable.auto.commit": False})
    consumer.subscribe([TOPIC])
    return consumer


def until(done, *members):
    """Polls in turn, and gives what each one was given, by partition."""
    given = [{0: 0, 1: 0} for _ in members]
    end = time.monotonic() + SECONDS
    while not done(given):
        if time.monotonic() > end:
            sys.exit("a rebalance or a message did not come")
        for consumer, counts in zip(members, given, strict=True):
            if message := consumer.poll(0.1):
                counts[message.partition()] += 1
    return given


def tried(group, protocol, commit):
    first = member(group, protocol)
    until(lambda given: all(given[0].values()), first)  # It has read of both, and its workers are busy with that.
    metadata = first.consumer_group_metadata()

    second = member(group, protocol)
    seen = {0: 0, 1: 0}

    def second_has_done_a_partition(given):
        seen.update(given[1])
        return len(first.assignment()) == len(second.assignment()) == 1 and MESSAGES in seen.values()

    until(second_has_done_a_partition, first, second)
    moved = second.assignment()[0].partition
    second.commit(offsets=[TopicPartition(TOPIC, moved, MESSAGES)], asynchronous=False)
    before = committed(second, moved)

    try:
        commit(first, metadata, TopicPartition(TOPIC, moved, 1))
        answer = "taken"
    except KafkaException:
        answer = "refused"
    after = committed(second, moved)
    first.close()
    second.close()

    third = member(group, protocol)
    other = MESSAGES  # Nobody has committed the partition that did not move.
    given = until(lambda given: given[0][1 - moved] == other and given[0][moved] >= MESSAGES - after, third)
    third.close()
    print(f"{group}: {answer}; committed {before}, then {after}; given once more {given[0][moved]}", flush=True)
    return answer, before, after, given[0][moved]


def committed(consumer, partition):
    return consumer.committed([TopicPartition(TOPIC, partition)])[0].offset


def plain(consumer, _, offset):
    consumer.commit(offsets=[offset], asynchronous=False)


def in_transaction(consumer, _, offset):
    transaction(offset, consumer.consumer_group_metadata())


def in_transaction_with_what_it_was(_, metadata, offset):
    transaction(offset, metadata)


def transaction(offset, metadata):
    producer = Producer(AT | {"transactional.id": "first"})
    producer.init_transactions()
    producer.begin_transaction()
    try:
        producer.send_offsets_to_transaction([offset], metadata)
    except KafkaException:
        producer.abort_transaction()
        raise
    producer.commit_transaction()


prepare()
results = []
for protocol in ("classic", "consumer"):
    for commit in (plain, in_transaction, in_transaction_with_what_it_was):
        results.append(tried(f"{protocol}, {commit.__name__}", protocol, commit))
goes_back, stays = ("taken", 10, 1, 9), ("refused", 10, 10, 0)
sys.exit(0 if results == [goes_back, goes_back, stays] * 2 else 1)
PY
venv/bin/python show.py "127.0.0.1:$port"
