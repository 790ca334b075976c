#!/usr/bin/env bash
# Apache Kafka 4.2.0, its Java consumer: when a topic is deleted and made anew while a consumer runs, the consumer goes
# on in the new one at the offset that it had in the old one, and whatever was written before that is lost to its group.
#
# One would expect it to begin anew, by auto.offset.reset. A topic of the same name is another one with an id of its own
# (since 2.8), the consumer asks for messages by that id (since 3.1), and is told that the id is unknown; the group's
# offsets were deleted with the topic; and a consumer that is started afterwards gets all messages. But a running one
# answers to the unknown id by looking up the new one, and keeps its position. With fewer messages than that in the
# new topic the position is out of range and is reset; with more, the first ones are left out, without an error, and the
# next commit makes that so for whoever comes after. So who empties a topic by making it anew, as is often advised, loses
# as many messages of each partition as it had before. By the protocol of KIP-848, where the broker assigns by id, the
# partition is taken away and given again with the next heartbeat: too late for a consumer that commits what it has done,
# and one that does not is given the first messages after the last ones, and those twice. What helps is to stop all
# consumers of a topic first.
#
# Seen, with 10 messages in the old topic and then 25 in the new one, by a consumer that is busy while the topic is made
# anew: 15, and the next member of its group only what was sent since, so 10 lost, by both protocols; by the protocol of
# KIP-848 without commits 15 and then all 25; by a consumer that was stopped meanwhile 25.
# Exits 1 when that is no longer so. Needs Maven and Java 17 or newer; the first run fetches Kafka's jars (100 MB).
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
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
group.consumer.heartbeat.interval.ms=15000
EOF
java -cp "jars/*" kafka.tools.StorageTool format -t "$(python3 -c 'import base64, uuid
print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')" -c server.properties >format.log 2>&1
java -Xmx384m -cp "jars/*" kafka.Kafka server.properties >server.log 2>&1 &
server=$!
cat >Show.java <<'JAVA'
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.IntegerDeserializer;
import org.apache.kafka.common.serialization.IntegerSerializer;

public class Show {
    static final int OLD = 10;
    static final int NEW = 25;
    static final int LAST = 1000;
    static final List<Integer> ALL = range(0, NEW);
    static Map<String, Object> at;

    public static void main(String[] args) throws Exception {
        at = Map.of("bootstrap.servers", args[0]);
        boolean asStated = true;
        for (String protocol : List.of("classic", "consumer")) {
            List<Integer> running = given(protocol, true, true);
            List<Integer> stopped = given(protocol, false, true);
            asStated &= running.equals(then(range(OLD, NEW), List.of(LAST)));
            asStated &= stopped.equals(then(ALL, List.of(LAST)));
        }
        List<Integer> without = given("consumer", true, false);
        asStated &= without.equals(then(range(OLD, NEW), ALL));
        System.exit(asStated ? 0 : 1);
    }

    /** What a group is given of the new topic: the one consumer first, and then, if it commits, the next one. */
    static List<Integer> given(String protocol, boolean running, boolean commits) throws Exception {
        String topic = protocol + (running ? "-running" : "-stopped") + (commits ? "" : "-without-commits");
        create(topic);
        send(topic, range(0, OLD));
        KafkaConsumer<Integer, Integer> consumer = consumer(topic, protocol);
        poll(consumer, OLD, commits);
        consumer.commitSync();
        if (!running) consumer.close();

        try (Admin admin = Admin.create(at)) {
            admin.deleteTopics(List.of(topic)).all().get();
        }
        create(topic);
        send(topic, ALL);

        if (!running) consumer = consumer(topic, protocol);
        List<Integer> values = poll(consumer, running ? NEW - OLD : NEW, commits);
        if (commits) {
            consumer.close();
            send(topic, List.of(LAST));
            consumer = consumer(topic, protocol);
            values.addAll(poll(consumer, 1, true));
        } else {
            values.addAll(poll(consumer, NEW, false));
        }
        consumer.close();
        Set<Integer> lost = new TreeSet<>(ALL);
        lost.removeAll(values);
        System.out.println(topic + ": " + values + ", lost " + lost.size());
        return values;
    }

    static void create(String topic) throws Exception {
        try (Admin admin = Admin.create(at)) {
            for (int tries = 0; ; tries++) {
                try {
                    admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get();
                    return;
                } catch (ExecutionException e) {  // its deletion has not come to its end
                    if (!(e.getCause() instanceof TopicExistsException) || tries == 100) throw e;
                    Thread.sleep(50);
                }
            }
        }
    }

    static void send(String topic, List<Integer> values) throws Exception {
        try (var producer = new KafkaProducer<Integer, Integer>(at, new IntegerSerializer(), new IntegerSerializer())) {
            for (int value : values) producer.send(new ProducerRecord<>(topic, value)).get();
        }
    }

    static KafkaConsumer<Integer, Integer> consumer(String topic, String protocol) {
        KafkaConsumer<Integer, Integer> consumer = new KafkaConsumer<>(
            Map.of("bootstrap.servers", at.get("bootstrap.servers"), "group.id", topic, "group.protocol", protocol,
                "auto.offset.reset", "earliest", "enable.auto.commit", "false", "allow.auto.create.topics", "false"),
            new IntegerDeserializer(), new IntegerDeserializer());
        consumer.subscribe(List.of(topic));
        return consumer;
    }

    static List<Integer> poll(KafkaConsumer<Integer, Integer> consumer, int count, boolean commits) {
        List<Integer> values = new ArrayList<>();
        for (long end = System.nanoTime() + 40_000_000_000L; values.size() < count && System.nanoTime() < end; ) {
            consumer.poll(Duration.ofMillis(200)).forEach(record -> values.add(record.value()));
            if (commits) consumer.commitSync();
        }
        return values;
    }

    static List<Integer> range(int from, int to) {
        return IntStream.range(from, to).boxed().toList();
    }

    static List<Integer> then(List<Integer> first, List<Integer> second) {
        List<Integer> both = new ArrayList<>(first);
        both.addAll(second);
        return both;
    }
}
JAVA
java -cp "jars/*" Show.java "127.0.0.1:$port" 2>java.log || { code=$?; cat java.log; exit "$code"; }
