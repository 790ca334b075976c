#!/usr/bin/env bash
# websockets 17.4: `async for socket in connect(...)`, which "is retried with exponential backoff", comes back without
# any wait to a server that takes the connection and then closes it: hundreds of times a second, for ever.
#
# One would expect the backoff whenever a connection was of no use. But it is for what fails before the handshake is
# done; with the handshake the count begins anew, however short the connection was and whatever code ended it. And a
# WebSocket server can give its reasons only after the handshake: 1013 "try again later" of one that has too much to
# do, 1001 of one that is restarted, 1008 or 4001 for a token that has run out. All of these, and a proxy that shakes
# hands for a server that is gone, turn each client that is written as documented into a loop as fast as the network
# is, with TLS and a login each time, just when the server has too much to do. The argument reconnect_delays changes
# nothing, as it is not asked. What helps is a sleep of one's own before `continue`, that grows until a connection has
# lasted.
#
# Seen, one client for three seconds: a server that answers 503: 2 attempts; one that closes with 1013 after the
# handshake: 1,708 connections, and reconnect_delays was not asked once.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q websockets==17.4
cat >"$folder/show.py" <<'PY'
import asyncio
import http
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.client import backoff
from websockets.exceptions import ConnectionClosed

SECONDS = 3


async def attempts(name, refuse=None):
    """How often one client came, and how often it asked how long to wait."""
    came = asked = 0

    async def send_away(socket):
        await socket.close(1013, "try again later")

    def take_or_refuse(connection, request):
        nonlocal came
        came += 1
        return connection.respond(refuse, "too busy\n") if refuse else None

    def delays():
        nonlocal asked
        asked += 1
        yield from backoff()

    async def follow(port):
        async for socket in connect(f"ws://127.0.0.1:{port}", reconnect_delays=delays):
            try:
                async for _ in socket:
                    pass
            except ConnectionClosed:
                continue

    async with serve(send_away, "127.0.0.1", 0, process_request=take_or_refuse) as server:
        client = asyncio.create_task(follow(server.sockets[0].getsockname()[1]))
        await asyncio.sleep(SECONDS)
        client.cancel()
        await asyncio.wait([client])
    print(f"{name}: {came} in {SECONDS} s, reconnect_delays asked {asked} times")
    return came, asked


async def main():
    refused, _ = await attempts("503 instead of the handshake", http.HTTPStatus.SERVICE_UNAVAILABLE)
    sent_away, asked = await attempts("1013 after the handshake")
    return 0 if refused < 10 and sent_away > 100 and asked == 0 else 1


sys.exit(asyncio.run(main()))
PY
"$folder/venv/bin/python" "$folder/show.py"
