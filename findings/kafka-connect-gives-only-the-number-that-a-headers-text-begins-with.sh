#!/usr/bin/env bash
# Kafka Connect 4.4.0 (Java): a header with the text 17,18 or 10:30 reaches a connector as the number 17 or 10; the rest
# is gone.
#
# One would expect a header to come as it was sent, or, knowing that SimpleHeaderConverter, which is the header.converter
# where none is set, guesses types, at least as a value that says the same: texts that are no number remain texts, and
# 5 minutes, 127.0.0.1 and true,false do. But the text is cut at , : [ ] { } and quotes, and when the first piece is a
# number, that number is the value, whatever follows. So a list of ids is its first one, a time its hour, an IPv6 address
# its first group, and a key of the form tenant:user the tenant alone, for each transform that reads it, for the sink, and
# in whatever the sink writes. Nothing is said, and whether it happens depends on the value: abc:1 is left alone. What is
# a number throughout loses what makes it an id: 007 is 7, 1.10 is 1.1, 1e5 is 100000. What helps is
# header.converter=org.apache.kafka.connect.storage.StringConverter. (KAFKA-20892, open.)
#
# Seen, read and written again: 17,18,19 as 17, 10:30:00 as 10, 42:alice as 42, 2001:db8::1 as 2001, 3.5,"degrees" as 3.5;
# 5 minutes, 127.0.0.1, true,false and abc:1 as they are, and by StringConverter all of them.
# Exits 1 when that is no longer so. Needs Maven and Java 17 or newer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >pom.xml <<'XML'
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId><artifactId>connect</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId><version>4.4.0</version>
  </dependency></dependencies>
</project>
XML
mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
  -DincludeScope=runtime -DoutputDirectory="$folder/jars" >maven.log 2>&1 || { cat maven.log; exit 2; }
cat >Show.java <<'JAVA'
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.runtime.WorkerConfig;
import org.apache.kafka.connect.runtime.standalone.StandaloneConfig;
import org.apache.kafka.connect.storage.HeaderConverter;
import org.apache.kafka.connect.storage.StringConverter;

public class Show {
    public static void main(String[] args) throws Exception {
        Map<String, String> stated = new LinkedHashMap<>();
        stated.put("17,18,19", "17");
        stated.put("10:30:00", "10");
        stated.put("42:alice", "42");
        stated.put("2001:db8::1", "2001");
        stated.put("3.5,\"degrees\"", "3.5");
        stated.put("007", "7");
        stated.put("1.10", "1.1");
        stated.put("1e5", "100000");
        stated.put("5 minutes", "5 minutes");
        stated.put("127.0.0.1", "127.0.0.1");
        stated.put("true,false", "true,false");
        stated.put("abc:1", "abc:1");

        // The converter of a worker whose settings name none.
        StandaloneConfig worker = new StandaloneConfig(Map.of(
            "bootstrap.servers", "127.0.0.1:9092",
            "offset.storage.file.filename", "offsets",
            "key.converter", "org.apache.kafka.connect.storage.StringConverter",
            "value.converter", "org.apache.kafka.connect.storage.StringConverter"));
        Class<?> byDefault = worker.getClass(WorkerConfig.HEADER_CONVERTER_CLASS_CONFIG);
        HeaderConverter converter = (HeaderConverter) byDefault.getDeclaredConstructor().newInstance();
        HeaderConverter texts = new StringConverter();
        texts.configure(Map.of("converter.type", "header"));

        System.out.println(byDefault.getName());
        boolean asStated = byDefault.getSimpleName().equals("SimpleHeaderConverter");
        for (Map.Entry<String, String> entry : stated.entrySet()) {
            String sent = entry.getKey();
            SchemaAndValue read = read(converter, sent);
            String written = new String(
                converter.fromConnectHeader("topic", "header", read.schema(), read.value()), StandardCharsets.UTF_8);
            System.out.println(sent + ": " + read.value() + " (" + read.schema().type() + "), written as " + written);
            asStated &= read.value().toString().equals(entry.getValue()) && written.equals(entry.getValue());
            asStated &= read(texts, sent).value().equals(sent);
        }
        System.exit(asStated ? 0 : 1);
    }

    static SchemaAndValue read(HeaderConverter converter, String sent) {
        return converter.toConnectHeader("topic", "header", sent.getBytes(StandardCharsets.UTF_8));
    }
}
JAVA
java -cp "jars/*" Show.java 2>java.log || { code=$?; cat java.log; exit "$code"; }
