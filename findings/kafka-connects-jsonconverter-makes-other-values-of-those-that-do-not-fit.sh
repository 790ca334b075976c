#!/usr/bin/env bash
# Kafka Connect 4.4.0 (Java): JsonConverter makes -1 of the number 18446744073709551615, and with a schema 0 of the text
# "77" for an int64, and tells nobody.
#
# One would expect a number of JSON to come through, as with the JsonDeserializer of the very same jar, and what does not
# fit to be refused with a DataException, so that the task fails or, with errors.tolerance=all, the message goes to the
# dead letter queue. So it is for a number where an object should be, and for a required field that is missing. But for
# numbers, texts and booleans Jackson is asked for the value as a long, as a text, as a boolean, and what it gives for
# something else is taken for the value: the lower 64 bits of a longer number, the lower 8 or 32 of one that is too long
# for an int8 or an int32, 0 for a text, false for all that is not true, an empty list for what is no list, and null, of
# a type that allows no null, for a number where a text should be. So without a schema, where every JSON is valid, all
# ids of unsigned 64 bits from the upper half are negative in the sink, and ids from 2^64 on meet those of other rows;
# and with one, a producer that begins to send "77" for 77 writes 0 into a database, and nothing fails.
#
# Seen: {"id":18446744073709551615} passed on as {"id":-1}, and {"id":18446744073709551623} as {"id":7}, where the
# deserializer keeps both; by a schema, "77" is 0 for an int64, 3000000000 is -1294967296 for an int32, 300 is 44 for an
# int8, "true" is false, 77 is null for a string and [] for an array; a DataException where a struct should be, and for
# null.
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
    <groupId>org.apache.kafka</groupId><artifactId>connect-json</artifactId><version>4.4.0</version>
  </dependency></dependencies>
</project>
XML
mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
  -DincludeScope=runtime -DoutputDirectory="$folder/jars" >maven.log 2>&1 || { cat maven.log; exit 2; }
cat >Show.java <<'JAVA'
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.errors.DataException;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.json.JsonDeserializer;

public class Show {
    static boolean asStated = true;

    public static void main(String[] args) {
        // What a task does with a value that it passes on: the converter reads it, and writes it.
        passedOn("{\"id\":9223372036854775807}", "{\"id\":9223372036854775807}");
        passedOn("{\"id\":9223372036854775808}", "{\"id\":-9223372036854775808}");
        passedOn("{\"id\":18446744073709551615}", "{\"id\":-1}");
        passedOn("{\"id\":18446744073709551623}", "{\"id\":7}");

        // What it reads by a schema.
        read("{\"type\":\"int64\"}", "77", "77");
        read("{\"type\":\"int64\"}", "\"77\"", "0");
        read("{\"type\":\"int64\"}", "18446744073709551615", "-1");
        read("{\"type\":\"int32\"}", "3000000000", "-1294967296");
        read("{\"type\":\"int8\"}", "300", "44");
        read("{\"type\":\"double\"}", "\"1.5\"", "0.0");
        read("{\"type\":\"boolean\"}", "\"true\"", "false");
        read("{\"type\":\"string\"}", "77", "null");
        read("{\"type\":\"array\",\"items\":{\"type\":\"int64\"}}", "77", "[]");
        String struct = "{\"type\":\"struct\",\"fields\":[{\"field\":\"id\",\"type\":\"int64\"}]}";
        read(struct, "{\"id\":\"77\"}", "Struct{id=0}");
        read(struct, "{}", "DataException");
        read(struct, "77", "DataException");
        read("{\"type\":\"string\"}", "null", "DataException");
        System.exit(asStated ? 0 : 1);
    }

    static void passedOn(String json, String stated) {
        JsonConverter converter = new JsonConverter();
        converter.configure(Map.of("schemas.enable", "false"), false);
        SchemaAndValue read = converter.toConnectData("topic", bytes(json));
        String written = new String(converter.fromConnectData("topic", read.schema(), read.value()), StandardCharsets.UTF_8);
        String deserialized = new JsonDeserializer().deserialize("topic", bytes(json)).toString();
        System.out.println(json + ": the converter " + written + ", the deserializer " + deserialized);
        asStated &= written.equals(stated) && deserialized.equals(json);
    }

    static void read(String schema, String payload, String stated) {
        JsonConverter converter = new JsonConverter();
        converter.configure(Map.of("schemas.enable", "true"), false);
        String message = "{\"schema\":" + schema + ",\"payload\":" + payload + "}";
        String value;
        try {
            value = String.valueOf(converter.toConnectData("topic", bytes(message)).value());
        } catch (DataException e) {
            value = "DataException";
        }
        System.out.println(payload + " by " + schema + ": " + value);
        asStated &= value.equals(stated);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
JAVA
java -cp "jars/*" Show.java 2>java.log || { code=$?; cat java.log; exit "$code"; }
