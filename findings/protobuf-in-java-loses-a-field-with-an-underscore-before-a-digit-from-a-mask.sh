#!/usr/bin/env bash
# protobuf 4.36.2 (Java): JsonFormat writes a FieldMask with the path `line_2` as "line2", and reads that as the path
# `line2`, which is no field; FieldMaskUtil.merge() then leaves line_2 as it was, and all calls succeed.
#
# One would expect that a mask comes back as it went, as the message does, of which the field is "line2" in JSON as well
# and is found by that name; or that it is refused, as by Python, which says that such a path cannot be written. But
# Java turns _2 into 2 with no way back. The mask that FieldMaskUtil.isValid() has approved of goes through JSON, at a
# gateway, in a queue, in a log that is replayed, and of an update of several fields those are made whose names have
# only letters behind an underscore. The caller gets OK and the rest is lost; what tells of it is a line of
# java.util.logging. Names as address_1, line_2 or oauth_2_token are against protobuf's style guide and nothing
# else. What helps is isValid() after the mask was read, or names without such an underscore.
#
# Seen, an update of nick_name and line_2 with a mask of both: Java, mask as it is: both changed; through JSON:
# "nickName,line2" is read as nick_name and line2, isValid() false, nick_name changed and line_2 as before, no
# exception. Python 7.36.2: ValueError when the mask is written.
# Exits 1 when that is no longer so. Needs Java 17 or newer, Maven and Python.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q protobuf==7.36.2
cat >pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>show</groupId>
  <artifactId>show</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>com.google.protobuf</groupId>
      <artifactId>protobuf-java-util</artifactId>
      <version>4.36.2</version>
    </dependency>
  </dependencies>
</project>
XML
mvn -q -B -Dmaven.repo.local="$folder/m2" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory=lib >log 2>&1 || { cat log; exit 1; }
cat >Show.java <<'JAVA'
import com.google.protobuf.DescriptorProtos.FieldDescriptorProto;
import com.google.protobuf.DescriptorProtos.FileDescriptorProto;
import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.DynamicMessage;
import com.google.protobuf.FieldMask;
import com.google.protobuf.util.FieldMaskUtil;
import com.google.protobuf.util.JsonFormat;
import java.util.List;

class Show {
    static Descriptor profile() throws Exception {
        var file = FileDescriptorProto.newBuilder().setName("profile.proto").setSyntax("proto3");
        var message = file.addMessageTypeBuilder().setName("Profile");
        for (String name : List.of("nick_name", "line_2")) {
            message.addFieldBuilder().setName(name).setNumber(message.getFieldCount())
                .setType(FieldDescriptorProto.Type.TYPE_STRING).setLabel(FieldDescriptorProto.Label.LABEL_OPTIONAL);
        }
        return FileDescriptor.buildFrom(file.build(), new FileDescriptor[0]).findMessageTypeByName("Profile");
    }

    static DynamicMessage read(Descriptor type, String json) throws Exception {
        var message = DynamicMessage.newBuilder(type);
        JsonFormat.parser().merge(json, message);
        return message.build();
    }

    static void update(String name, Descriptor type, FieldMask mask) throws Exception {
        var profile = read(type, "{\"nickName\": \"old\", \"line2\": \"old\"}").toBuilder();
        FieldMaskUtil.merge(mask, read(type, "{\"nickName\": \"new\", \"line2\": \"new\"}"), profile);
        String json = JsonFormat.printer().omittingInsignificantWhitespace().print(profile);
        System.out.println(name + ": " + mask.getPathsList() + " " + FieldMaskUtil.isValid(type, mask) + " " + json);
    }

    public static void main(String[] arguments) throws Exception {
        Descriptor type = profile();
        FieldMask mask = FieldMask.newBuilder().addPaths("nick_name").addPaths("line_2").build();
        String json = JsonFormat.printer().print(mask);
        var back = FieldMask.newBuilder();
        JsonFormat.parser().merge(json, back);
        System.out.println(json);
        update("as it is", type, mask);
        update("through JSON", type, back.build());
    }
}
JAVA
javac -cp 'lib/*' Show.java
java -cp 'lib/*:.' Show 2>log >java.txt || { cat log; exit 1; }
cat >show.py <<'PY'
from google.protobuf import field_mask_pb2, json_format

try:
    print(json_format.MessageToJson(field_mask_pb2.FieldMask(paths=["nick_name", "line_2"])))
except ValueError as error:
    print(f"ValueError: {error}")
PY
venv/bin/python show.py >python.txt
cat java.txt log python.txt
diff - java.txt <<'TEXT'
"nickName,line2"
as it is: [nick_name, line_2] true {"nickName":"new","line2":"new"}
through JSON: [nick_name, line2] false {"nickName":"new","line2":"old"}
TEXT
grep -q '^ValueError' python.txt
