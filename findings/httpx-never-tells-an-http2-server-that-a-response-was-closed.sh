#!/usr/bin/env bash
# httpx 0.28.1 (httpcore 1.0.9, h2 4.4.1): who leaves a response of HTTP/2 before its end closes nothing. The server is
# not told, and after a hundred of them each further request of that client fails at once.
#
# One would expect of the end of `async with client.stream(...)` what it does with HTTP/1.1, where the connection goes
# and the server knows within milliseconds: that the stream is reset (RST_STREAM), the more so as HTTP/2 can end one
# response and keep the others. But httpcore only forgets the stream on its own side. A handler that sends events goes
# on for a reader who has left, with its subscription, its buffer and its place among those online; h2 goes on counting
# the stream, so that with the hundredth, which is what servers commonly allow, LocalProtocolError is all that the
# client gives, for requests that have nothing to do with events as well. It ends when nothing was asked for five
# seconds (keepalive_expiry), and what is busy never gets there. A cancelled task and a timeout in the middle of a body
# leave just as much behind. What helps is a client of its own for streams that are left early, or http2=False.
#
# Seen, 120 times the first event of a stream that goes on, server Hypercorn 0.18.0: HTTP/1.1: the server was told of
# 120, and /hello is answered; HTTP/2: after 100 LocalProtocolError("Max outbound streams is 100, 100 open"), from
# /hello as well, and the server was told of none before the client was closed.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q httpx==0.28.1 httpcore==1.0.9 h2==4.4.1 hypercorn==0.18.0
cat >"$folder/show.py" <<'PY'
import asyncio
import socket
import sys

import httpx
from hypercorn.asyncio import serve
from hypercorn.config import Config

TIMES, ALLOWED = 120, 100


class Events:
    """An ASGI application: /events sends one event and stays open, until it is told that the reader has left."""

    def __init__(self):
        self.begun = self.told = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/hello":
            await send({"type": "http.response.body", "body": b"hello"})
            return
        self.begun += 1
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        self.told += 1

    async def all_told(self, seconds):
        for _ in range(seconds * 10):
            if self.told == self.begun:
                break
            await asyncio.sleep(0.1)
        return self.told == self.begun


async def outcome(request):
    try:
        return await request
    except httpx.LocalProtocolError as error:
        return repr(error)


async def first_event(client):
    async with client.stream("GET", "/events") as response:
        async for line in response.aiter_lines():
            return line


async def hello(client):
    return (await client.get("/hello")).text


async def show(app, base, *, http2):
    app.begun = app.told = 0
    async with httpx.AsyncClient(base_url=base, http1=not http2, http2=http2, timeout=30) as client:
        events = [await outcome(first_event(client)) for _ in range(TIMES)]
        answer = await outcome(hello(client))
        told_while_open = await app.all_told(seconds=3)
        told = app.told
    told_at_end = await app.all_told(seconds=30)
    read = events.count("data: 1")
    print(f"HTTP/{2 if http2 else 1.1}: {read} events, the server was told of {told} ends, /hello: {answer}")
    return read, told, told_while_open, told_at_end, answer == "hello"


async def main():
    app, stop, listener = Events(), asyncio.Event(), socket.create_server(("127.0.0.1", 0))
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.accesslog = config.errorlog = None
    server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    one = await show(app, base, http2=False)
    two = await show(app, base, http2=True)
    stop.set()
    await server
    return one == (TIMES, TIMES, True, True, True) and two == (ALLOWED, 0, False, True, False)


sys.exit(0 if asyncio.run(main()) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
