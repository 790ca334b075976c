#!/usr/bin/env bash
# OkHttp 5.5.1: when the server closes a WebSocket, OkHttp does not answer. There is neither onClosed nor onFailure, not
# even after the server has ended the connection, and send() goes on to return true.
#
# One would expect that the library answers a close frame itself, as RFC 6455 asks and the JDK's WebSocket, browsers and
# others do, and that onClosed, or at the least onFailure, is where to come back from. But it leaves the answer to the
# application, which has to call close() in onClosing, a callback that need not be written and says only that no more
# messages come; and with the close frame it stops to read, so that it does not see the end of the connection either.
# An app that comes back in onClosed and onFailure, as one reads of both, does so when its network is gone, and not when
# the server is restarted or sends it away, which is when servers say so properly: it stays there with a dead socket
# that takes messages, until it writes one (or a ping, if it has set an interval). The server waits for the answer of
# each such client for as long as it does, and notes 1006. What helps is webSocket.close(code, null) in onClosing.
#
# Seen, a server with websockets 17.4 that closes with 1012: OkHttp: onClosing 1012, and nothing more 15 s later, when
# send() gives true, and onFailure (IOException) follows; the server took 10.0 s and saw 1006. With close() in
# onClosing: onClosed 1012; the JDK's WebSocket: onClose 1012; both times the server saw 1012 within 0.1 s.
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
      <groupId>com.squareup.okhttp3</groupId>
      <artifactId>okhttp-jvm</artifactId>
      <version>5.5.1</version>
    </dependency>
  </dependencies>
</project>
XML
mvn -q -B -Dmaven.repo.local="$folder/m2" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory=lib >log 2>&1 || { cat log; exit 1; }
cat >Show.java <<'JAVA'
import java.net.URI;
import java.net.http.HttpClient;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.WebSocket;
import okhttp3.WebSocketListener;

class Show {
    static final int SECONDS = 15;

    static class Listener extends WebSocketListener {
        final CountDownLatch closing = new CountDownLatch(1), ended = new CountDownLatch(1);
        final boolean answers;

        Listener(boolean answers) {
            this.answers = answers;
        }

        @Override
        public void onClosing(WebSocket socket, int code, String reason) {
            System.out.println("onClosing " + code);
            if (answers) socket.close(code, null);
            closing.countDown();
        }

        @Override
        public void onClosed(WebSocket socket, int code, String reason) {
            System.out.println("onClosed " + code);
            ended.countDown();
        }

        @Override
        public void onFailure(WebSocket socket, Throwable error, Response response) {
            System.out.println("onFailure " + (error instanceof java.io.IOException ? "IOException" : error));
            ended.countDown();
        }
    }

    static void okhttp(String url, boolean answers) throws Exception {
        Listener listener = new Listener(answers);
        WebSocket socket = new OkHttpClient().newWebSocket(new Request.Builder().url(url).build(), listener);
        listener.closing.await();
        if (!listener.ended.await(SECONDS, TimeUnit.SECONDS)) {
            System.out.println("nothing in " + SECONDS + " s");
            System.out.println("send() " + socket.send("x"));
            while (!listener.ended.await(100, TimeUnit.MILLISECONDS)) socket.send("x");
        }
    }

    static void jdk(String url) throws Exception {
        CountDownLatch ended = new CountDownLatch(1);
        var listener = new java.net.http.WebSocket.Listener() {
            @Override
            public CompletionStage<?> onClose(java.net.http.WebSocket socket, int code, String reason) {
                System.out.println("onClose " + code);
                ended.countDown();
                return null;
            }
        };
        HttpClient.newHttpClient().newWebSocketBuilder().buildAsync(URI.create(url), listener).join();
        ended.await();
        Thread.sleep(500); // Its answer is sent after onClose.
    }

    public static void main(String[] arguments) throws Exception {
        String url = arguments[1];
        switch (arguments[0]) {
            case "okhttp" -> okhttp(url, false);
            case "okhttp, close()" -> okhttp(url, true);
            default -> jdk(url);
        }
        System.exit(0);
    }
}
JAVA
javac -cp 'lib/*' Show.java
cat >show.py <<'PY'
import asyncio
import sys
import time

from websockets.asyncio.server import serve

ends = asyncio.Queue()


async def restarting(socket):
    began = time.monotonic()
    await socket.close(1012, "restart")
    ends.put_nowait((socket.close_code if socket.protocol.close_rcvd else 1006, time.monotonic() - began))


async def show(name, port):
    command = ["timeout", "60", "java", "-cp", "lib/*:.", "Show", name, f"ws://127.0.0.1:{port}/"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    (code, took) = await ends.get()
    events = said.decode().splitlines()
    print(f"{name}: {', '.join(events)}; the server: {code} after {took:.1f} s")
    return events, code, took > 9


async def main():
    async with serve(restarting, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        plain = await show("okhttp", port)
        answering = await show("okhttp, close()", port)
        jdk = await show("jdk", port)
    silent = ["onClosing 1012", "nothing in 15 s", "send() true", "onFailure IOException"]
    return (
        plain == (silent, 1006, True)
        and answering == (["onClosing 1012", "onClosed 1012"], 1012, False)
        and jdk == (["onClose 1012"], 1012, False)
    )


sys.exit(0 if asyncio.run(main()) else 1)
PY
venv/bin/python show.py
