#!/usr/bin/env bash
# granian 2.8.7 (ASGI, WebSocket): when receive() is cancelled as a message comes in, the application is never given
# that message.
#
# One would expect what other ASGI servers keep to, that a receive() which is cancelled has taken nothing: the message
# is there for the next call. But granian takes it off the connection in a thread of its own, and where the one who
# waited for it has been cancelled meanwhile, the message is dropped with the answer: the client has sent it, no error is
# raised or logged, and the connection goes on. So a gateway that waits for what comes first, something from the client
# or something to send to it, and cancels the other wait, loses some on a connection that is well, the more the more
# there is to send; a receive() under asyncio.timeout(), as for a heartbeat, loses some, too. What helps is to cancel
# nothing and keep the one receive() for the next turn, or a task that only receives and fills a queue.
#
# Shown with an application that sends something every 2 ms while 2000 messages come, one each ms. Seen, how many of
# them it is given: granian, the other wait is cancelled 1703 (on a busy machine 470); it is kept 2000; hypercorn 0.18.0,
# cancelled 2000.
# Exits 1 when that is no longer so. Needs Python 3.11 or newer.
set -euo pipefail
folder=$(mktemp -d)
servers=()
trap '{ kill "${servers[@]}"; wait "${servers[@]}"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q granian==2.8.7 hypercorn==0.18.0 websockets==17.4
cat >application.py <<'PY'
import asyncio
import json


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    to_send = asyncio.Queue()
    making = asyncio.create_task(make(to_send))
    try:
        await talk(receive, send, to_send, kept=scope["path"] == "/kept")
    finally:
        making.cancel()


async def make(to_send):
    while True:
        to_send.put_nowait("something")
        await asyncio.sleep(0.002)


async def talk(receive, send, to_send, *, kept):
    async def received():
        return await receive()

    given, coming = 0, None
    while True:
        coming = coming or asyncio.create_task(received())
        going = asyncio.create_task(to_send.get())
        await asyncio.wait([coming, going], return_when=asyncio.FIRST_COMPLETED)
        going.cancel()
        if not kept:
            coming.cancel()
            await asyncio.wait([coming])
        await asyncio.wait([going])
        if not going.cancelled():
            await send({"type": "websocket.send", "text": going.result()})
        if not coming.done():
            continue
        if not coming.cancelled():
            event = coming.result()
            if event["type"] == "websocket.disconnect":
                return
            if event["text"] == "how many":
                await send({"type": "websocket.send", "text": json.dumps(given)})
            else:
                given += 1
        coming = None
PY
cat >show.py <<'PY'
import asyncio
import contextlib
import sys

import websockets

MESSAGES = 2_000


async def given(port, path):
    """How many messages the application says that it was given."""
    async with connected(f"ws://127.0.0.1:{port}/{path}") as client:
        answer = asyncio.create_task(number(client))
        for _ in range(MESSAGES):
            await client.send("message")
            await asyncio.sleep(0.001)
        while not answer.done():  # the question may be lost as well
            await client.send("how many")
            await asyncio.wait([answer], timeout=0.3)
        return answer.result()


@contextlib.asynccontextmanager
async def connected(url):
    for _ in range(200):
        try:
            client = await websockets.connect(url)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            async with client:
                yield client
            return
    raise TimeoutError(url)


async def number(client):
    async for text in client:
        if text.isdigit():
            return int(text)
    raise EOFError


async def main(granian, hypercorn):
    cancelled = await given(granian, "cancelled")
    others = [await given(granian, "kept"), await given(hypercorn, "cancelled")]
    print(f"granian, cancelled: {cancelled} of {MESSAGES}; kept: {others[0]}; hypercorn, cancelled: {others[1]}")
    return cancelled < MESSAGES and others == [MESSAGES] * 2


sys.exit(0 if asyncio.run(main(*sys.argv[1:])) else 1)
PY
read -r first second < <(python3 -c 'import socket
a, b = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
print(a.getsockname()[1], b.getsockname()[1])')
venv/bin/granian --interface asgi --host 127.0.0.1 --port "$first" application:application >granian.log 2>&1 &
servers+=($!)
venv/bin/hypercorn --bind "127.0.0.1:$second" application:application >hypercorn.log 2>&1 &
servers+=($!)
timeout 90 venv/bin/python show.py "$first" "$second"
