#!/usr/bin/env bash
# uvicorn 0.54.0 with websockets 17.4 (what it takes by itself): a WebSocket with one message that the application has
# not read yet is closed with 1011, "keepalive ping timeout", though the client is there and answers each ping at once.
#
# One would expect that pings and pongs are between the server and the client, and that an application may take its
# time: to send for a while, or to wait for a long answer, before it calls receive() again. But with the first message
# that is not fetched uvicorn stops to read from the connection, and the client's pong is behind it. After
# ws_ping_interval and ws_ping_timeout, 40 s by default, the server ends the connection for the silence that it made
# itself. So what only sends breaks as soon as a client says something twice (a heartbeat of its own is enough), and
# who works for a minute on a request loses every client that sends the next one meanwhile. websockets' own server keeps
# sixteen messages before it stops to read.
#
# Seen, with pings each second and a limit of 1 s, an application that reads one message and then sends for 6 s: one
# message from the client: open, nothing missing; two: 1011 after 2.0 s.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q uvicorn==0.54.0 websockets==17.4
cat >"$folder/show.py" <<'PY'
import asyncio
import socket
import sys
import time

import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

SECONDS = 6


async def app(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    for number in range(4 * SECONDS):
        await send({"type": "websocket.send", "text": str(number)})
        await asyncio.sleep(0.25)
    await send({"type": "websocket.send", "text": "done"})


async def talk(port, messages):
    """What the client saw, and after how many seconds, when it had sent so many messages."""
    started, count = time.monotonic(), 0
    async with connect(f"ws://127.0.0.1:{port}", ping_interval=None) as connection:
        for number in range(messages):
            await connection.send(f"message {number}")
        try:
            while await connection.recv() != "done":
                count += 1
            end = "done"
        except ConnectionClosed as closed:
            end = f"{closed.rcvd.code} {closed.rcvd.reason}"
    print(f"{messages} sent: {count} of {4 * SECONDS} came, then {end!r} after {time.monotonic() - started:.1f} s")
    return end


async def main():
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, ws_ping_interval=1, ws_ping_timeout=1, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0.05)
    ends = [await talk(listening.getsockname()[1], messages) for messages in (1, 2)]
    server.should_exit = True
    await serving
    return 0 if ends == ["done", "1011 keepalive ping timeout"] else 1


sys.exit(asyncio.run(main()))
PY
"$folder/venv/bin/python" "$folder/show.py"
