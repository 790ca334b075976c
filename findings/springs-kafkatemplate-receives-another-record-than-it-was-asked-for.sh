#!/usr/bin/env bash
# Spring for Apache Kafka 4.0.1 (Java), with Apache Kafka 4.2.0: KafkaTemplate.receive(topic, partition, offset) gives
# another record when there is none at that offset.
#
# One would expect what is documented: that record, or null. But the template seeks to the offset and takes whatever
# comes first. When the offset is below the first one that retention has left, or above the last one, auto.offset.reset
# of the consumer factory decides: with earliest, usual for a service, it is the oldest record of the partition. And in
# a hole, as each end of a transaction and each record that was compacted away leaves one, it is the next record, with
# any auto.offset.reset. So who keeps where a message is, to look at it again, to carry it out again from a dead letter,
# or to answer to it, gets somebody else's: a record of the right type, in good order, and the same one several times
# when several are asked for. Only its offset() tells.
#
# Seen, of m0 to m4, m5 in a transaction (whose end has offset 6) and m6 (offset 7), where m0 to m2 were deleted as
# retention does: with earliest, offset 3 gives m3, offset 0 gives m3, offset 50 gives m3, and offsets 0, 1 and 2
# together give m3, m3, m3; offset 6 gives m6, with none as well, with which offset 0 is an exception.
# Exits 1 when that is no longer so. Needs Maven and Java 17 or newer; the first run fetches Kafka's jars (100 MB).
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
for part in server:org.apache.kafka:kafka_2.13:4.2.0 client:org.springframework.kafka:spring-kafka:4.0.1; do
  IFS=: read -r name group artifact version <<<"$part"
  mkdir "$name"
  cat >"$name/pom.xml" <<XML
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId><artifactId>$name</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version>
  </dependency></dependencies>
</project>
XML
  mvn -q -B -f "$name" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$folder/$name/jars" >maven.log 2>&1 || { cat maven.log; exit 2; }
done
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
EOF
java -cp "server/jars/*" kafka.tools.StorageTool format -t "$(python3 -c 'import base64, uuid
print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')" -c server.properties >format.log 2>&1
java -Xmx384m -cp "server/jars/*" kafka.Kafka server.properties >server.log 2>&1 &
server=$!
cat >Show.java <<'JAVA'
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.LongStream;
import java.util.stream.StreamSupport;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.support.TopicPartitionOffset;

public class Show {
    static final String TOPIC = "messages";

    public static void main(String[] args) throws Exception {
        Map<String, Object> at = Map.of("bootstrap.servers", args[0]);
        send(at);
        KafkaTemplate<String, String> earliest = template(at, "earliest");
        KafkaTemplate<String, String> none = template(at, "none");
        List<String> given = List.of(
            one(earliest, 3), one(earliest, 0), one(earliest, 50), several(earliest, 0, 1, 2), one(earliest, 6),
            one(none, 6), one(none, 0));
        List<String> stated = List.of(
            "m3 of 3", "m3 of 3", "m3 of 3", "[m3, m3, m3]", "m6 of 7", "m6 of 7", "OffsetOutOfRangeException");
        System.exit(given.equals(stated) ? 0 : 1);
    }

    static void send(Map<String, Object> at) throws Exception {
        DefaultKafkaProducerFactory<String, String> plain = producers(at);
        DefaultKafkaProducerFactory<String, String> transactional = producers(at);
        transactional.setTransactionIdPrefix("transaction-");
        try (Admin admin = Admin.create(at)) {
            admin.createTopics(List.of(new NewTopic(TOPIC, 1, (short) 1))).all().get();
            for (int i = 0; i < 5; i++) new KafkaTemplate<>(plain).send(TOPIC, "m" + i).get();
            new KafkaTemplate<>(transactional).executeInTransaction(template -> template.send(TOPIC, "m5"));
            // The end of the transaction is written a moment later.
            while (end(admin) < 7) Thread.sleep(20);
            new KafkaTemplate<>(plain).send(TOPIC, "m6").get();
            admin.deleteRecords(Map.of(new TopicPartition(TOPIC, 0), RecordsToDelete.beforeOffset(3))).all().get();
        } finally {
            plain.destroy();
            transactional.destroy();
        }
    }

    static long end(Admin admin) throws Exception {
        TopicPartition partition = new TopicPartition(TOPIC, 0);
        ListOffsetsOptions committed = new ListOffsetsOptions(IsolationLevel.READ_COMMITTED);
        return admin.listOffsets(Map.of(partition, OffsetSpec.latest()), committed).partitionResult(partition).get().offset();
    }

    static DefaultKafkaProducerFactory<String, String> producers(Map<String, Object> at) {
        return new DefaultKafkaProducerFactory<>(at, new StringSerializer(), new StringSerializer());
    }

    static KafkaTemplate<String, String> template(Map<String, Object> at, String reset) {
        Map<String, Object> settings = new HashMap<>(at);
        settings.put("auto.offset.reset", reset);
        KafkaTemplate<String, String> template = new KafkaTemplate<>(producers(at));
        template.setConsumerFactory(
            new DefaultKafkaConsumerFactory<>(settings, new StringDeserializer(), new StringDeserializer()));
        return template;
    }

    static String one(KafkaTemplate<String, String> template, long offset) {
        String given;
        try {
            ConsumerRecord<String, String> record = template.receive(TOPIC, 0, offset);
            given = record == null ? "null" : record.value() + " of " + record.offset();
        } catch (OffsetOutOfRangeException e) {
            given = "OffsetOutOfRangeException";
        }
        System.out.println(offset + ": " + given);
        return given;
    }

    static String several(KafkaTemplate<String, String> template, long... offsets) {
        var records = template.receive(
            LongStream.of(offsets).mapToObj(offset -> new TopicPartitionOffset(TOPIC, 0, offset)).toList());
        String given = StreamSupport.stream(records.spliterator(), false).map(ConsumerRecord::value).toList().toString();
        System.out.println("several: " + given);
        return given;
    }
}
JAVA
java -cp "client/jars/*" Show.java "127.0.0.1:$port" 2>java.log || { code=$?; cat java.log; exit "$code"; }
