#!/usr/bin/env bash
# httpx 0.28.1 (httpcore 1.0.9): max_keepalive_connections, 20 by default, is compared with all connections of the
# pool, busy ones too. While a client has twenty answers open, each further request opens a connection and closes it
# again.
#
# One would expect what is documented, a limit of idle connections that are kept: with twenty streams open and one
# request after the other beside them, one idle connection is far from it. So a program that follows many streams
# (events, long polls, downloads, or just slow answers at a busy hour) and makes short calls by the same client pays
# for TCP and TLS with each call, leaves thousands of sockets in TIME_WAIT, and all that begins with the twentieth
# stream, when it is busiest. To set max_keepalive_connections as high as max_connections mends it, as does a client of
# its own for the streams.
#
# Seen, 50 requests one after the other beside open streams: 19 streams: 1 connection; 20 streams: 50 connections; 20
# streams and max_keepalive_connections=100: 1 connection.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q httpx==0.28.1 httpcore==1.0.9
cat >"$folder/show.py" <<'PY'
import asyncio
import contextlib
import sys

import httpx

REQUESTS = 50
accepted = 0
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"
SHORT = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server(asyncio.Protocol):
    def connection_made(self, transport):
        global accepted
        accepted += 1
        self.transport = transport

    def data_received(self, data):
        self.transport.write(STREAM if data.startswith(b"GET /stream ") else SHORT)


async def connections(base, streams, limits=httpx.Limits(max_connections=100, max_keepalive_connections=20)):
    """How many were opened for the requests beside so many streams."""
    async with httpx.AsyncClient(base_url=base, limits=limits) as client, contextlib.AsyncExitStack() as stack:
        for _ in range(streams):
            await stack.enter_async_context(client.stream("GET", "/stream"))
        before = accepted
        for _ in range(REQUESTS):
            (await client.get("/short")).raise_for_status()
        return accepted - before


async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    fewer, twenty = await connections(base, 19), await connections(base, 20)
    wider = await connections(base, 20, httpx.Limits(max_connections=100, max_keepalive_connections=100))
    print(f"connections for {REQUESTS} requests: 19 streams {fewer}, 20 streams {twenty}, with a limit of 100 {wider}")
    return 0 if (fewer, twenty, wider) == (1, REQUESTS, 1) else 1


sys.exit(asyncio.run(main()))
PY
"$folder/venv/bin/python" "$folder/show.py"
