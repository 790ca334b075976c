#!/usr/bin/env bash
# Java-WebSocket 1.6.0, permessage-deflate: a compressed message whose last block says that it is the last one is given
# to onMessage with its text twice in a row. RFC 7692's own example of such a message, "Hello", is "HelloHello".
#
# One would expect the text once, or an error. A message need not end with an empty block, as zlib's sync flush leaves
# it; section 7.2.3.4 of the RFC shows one that ends with a block with BFINAL and a byte 0 behind it, which is what a
# sender makes that compresses each message by itself, in one call. Java's inflater has the whole text then, and one
# byte is left over, the 0. Where bytes are left over, the extension takes it that nothing was inflated, since so it
# is with the fragments that its own sender makes: it resets the inflater, inflates the same payload anew, and appends
# that. The frame is valid, so nothing is logged, and an application sees a text that nobody has sent: "yesyes",
# {"n":1}{"n":1}, or a file of twice its length. Which messages it hits is the peer's choice, so tests against a peer
# that uses a sync flush, as most do, see none. Nothing helps but an extension of one's own, or no compression.
#
# Seen, four of the RFC's examples and a text of 104 bytes, sent to an echo server, as they come back:
#   Java-WebSocket: BFINAL: HelloHello; the text compressed in one call: 208 bytes, twice the text; others: Hello
#   websockets 17.4: all: Hello, and the text once
# Exits 1 when that is no longer so. Needs Java 17 or newer, Maven and Python.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q websockets==17.4
cat >pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>show</groupId>
  <artifactId>show</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.java-websocket</groupId>
      <artifactId>Java-WebSocket</artifactId>
      <version>1.6.0</version>
    </dependency>
  </dependencies>
</project>
XML
mvn -q -B -Dmaven.repo.local="$folder/m2" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory=lib >log 2>&1 || { cat log; exit 1; }
cat >Echo.java <<'JAVA'
import java.net.InetSocketAddress;
import java.util.List;
import org.java_websocket.WebSocket;
import org.java_websocket.drafts.Draft;
import org.java_websocket.drafts.Draft_6455;
import org.java_websocket.extensions.permessage_deflate.PerMessageDeflateExtension;
import org.java_websocket.handshake.ClientHandshake;
import org.java_websocket.server.WebSocketServer;

class Echo extends WebSocketServer {
    Echo(Draft draft) {
        super(new InetSocketAddress("127.0.0.1", 0), List.of(draft));
    }

    @Override
    public void onStart() {
        System.out.println(getPort());
    }

    @Override
    public void onOpen(WebSocket socket, ClientHandshake handshake) {}

    @Override
    public void onMessage(WebSocket socket, String message) {
        socket.send(message);
    }

    @Override
    public void onClose(WebSocket socket, int code, String reason, boolean remote) {}

    @Override
    public void onError(WebSocket socket, Exception error) {}

    public static void main(String[] arguments) {
        new Echo(new Draft_6455(new PerMessageDeflateExtension())).run();
    }
}
JAVA
javac -cp 'lib/*' Echo.java
cat >show.py <<'PY'
import asyncio
import subprocess
import sys
import zlib

import websockets
from websockets.asyncio.server import serve
from websockets.extensions.base import ClientExtensionFactory, Extension
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame

TEXT = "Ann: we meet at the station at half past nine. Bob: fine, at the station. Ann: and do bring the tickets."
BOTH = {"server_no_context_takeover": True, "client_no_context_takeover": True}


def in_one_call(text):
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(text.encode()) + compressor.flush() + b"\0"


# The payload of a frame with RSV1, and the text that it is.
MESSAGES = {
    "7.2.3.1, one block": (bytes.fromhex("f248cdc9c90700"), "Hello"),
    "7.2.3.3, not compressed": (bytes.fromhex("000500faff48656c6c6f00"), "Hello"),
    "7.2.3.4, BFINAL": (bytes.fromhex("f348cdc9c9070000"), "Hello"),
    "7.2.3.5, two blocks": (bytes.fromhex("f24805000000ffffcac9c90700"), "Hello"),
    "compressed in one call": (in_one_call(TEXT), TEXT),
}


class Ready(ClientExtensionFactory):
    """permessage-deflate, but what is sent is the payload already."""

    name = "permessage-deflate"

    def __init__(self):
        self.usual = ClientPerMessageDeflateFactory(**BOTH)

    def get_request_params(self):
        return self.usual.get_request_params()

    def process_response_params(self, params, accepted):
        return SendsAsIs(self.usual.process_response_params(params, accepted))


class SendsAsIs(Extension):
    name = "permessage-deflate"

    def __init__(self, usual):
        self.usual = usual

    def decode(self, frame, *, max_size=None):
        return self.usual.decode(frame, max_size=max_size)

    def encode(self, frame):
        is_data = frame.opcode in (1, 2)
        return Frame(frame.opcode, frame.data, frame.fin, rsv1=True) if is_data else frame


async def echoed(port, payload):
    url = f"ws://127.0.0.1:{port}/"
    async with websockets.connect(url, compression=None, extensions=[Ready()]) as socket:
        await socket.send(payload, text=True)
        return await socket.recv()


async def all_echoed(name, port):
    given = {}
    for message, (payload, text) in MESSAGES.items():
        given[message] = await echoed(port, payload)
        times = "the text" if given[message] == text else "twice the text" if given[message] == text * 2 else "?"
        print(f"{name}: {message}: {len(given[message])} bytes, {times}: {given[message][:10]}")
    return given


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    command = ["java", "-cp", "lib/*:.", "Echo"]
    java = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        by_java = await all_echoed("Java-WebSocket", int(await java.stdout.readline()))
    finally:
        java.kill()
        await java.wait()
    async with serve(echo, "127.0.0.1", 0) as server:
        by_python = await all_echoed("websockets", server.sockets[0].getsockname()[1])
    right = {message: text for message, (_, text) in MESSAGES.items()}
    doubled = {message: right[message] * 2 for message in ("7.2.3.4, BFINAL", "compressed in one call")}
    return by_python == right and by_java == right | doubled


sys.exit(0 if asyncio.run(main()) else 1)
PY
timeout 60 venv/bin/python show.py
