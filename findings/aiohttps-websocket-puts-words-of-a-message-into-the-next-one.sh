#!/usr/bin/env bash
# aiohttp 3.14.5, send_str(), send_bytes() and send_json() of a WebSocket, server and client: after one message that was
# sent with `compress`, the next one arrives with words of that one in the place of its own. Nobody sees an error.
#
# One would expect what the parameter is documented as, the "specific level of compression for single message". But for
# such a message aiohttp makes a compressor of its own, and goes on afterwards with that of the connection, which has
# not seen it. The receiver has one window for all that was compressed, as RFC 7692 says, and has it there. So what the
# next message refers to, so many bytes back, is another text for the sender than for the receiver, and as deflate has
# no checksum, what comes out is a message like any other: of right length, valid UTF-8, often still valid JSON. This
# goes on until the window has moved past it, and whose words they are depends on what was sent before to the same
# client. Who compresses only large messages harder meets it with the first one that is followed by something alike;
# the number, by the way, is taken for the bits of the window, and one below 9 is refused. Right are: never `compress`,
# or always, or a receiver that has asked for server_no_context_takeover.
#
# Seen, three messages, `compress` for the second or none or all of them, the third as it arrives:
#   aiohttp and websockets 17.4 as clients, none:   Ann: we meet at the station at half past nine
#   aiohttp and websockets 17.4 as clients, second: A fine, and I bring the tickets, for all nine
#   a client of aiohttp to its server, second:      A fine, and I bring the tickets, for all nine
#   all; second with server_no_context_takeover:    Ann: we meet at the station at half past nine
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q aiohttp==3.14.5 websockets==17.4
cat >show.py <<'PY'
import asyncio
import sys

import aiohttp
import websockets
from aiohttp import web
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

SENT = [
    "Ann: we meet at the station at half past eight",
    "Bob: fine, and I bring the tickets, for all of us",
    "Ann: we meet at the station at half past nine",
]
WHICH = {"none": [], "second": [1], "all": [0, 1, 2]}


async def send_all(socket, which):
    for number, text in enumerate(SENT):
        await socket.send_str(text, compress=9 if number in WHICH[which] else None)


async def serve(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    if which := request.query.get("which"):
        await send_all(socket, which)
        await socket.close()
    else:
        request.app["received"].put_nowait([message.data async for message in socket])
    return socket


async def to_aiohttp(url, which):
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{url}?which={which}", compress=15) as socket:
            return [message.data async for message in socket]


async def to_websockets(url, which, **options):
    async with websockets.connect(f"{url}?which={which}", **options) as socket:
        return [message async for message in socket]


async def to_server(url, which, received):
    async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=15) as socket:
        await send_all(socket, which)
    return await received.get()


async def main():
    application = web.Application()
    application["received"] = received = asyncio.Queue()
    application.router.add_get("/", serve)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    ws = url.replace("http", "ws")
    plain = ClientPerMessageDeflateFactory(server_no_context_takeover=True)
    right = {
        "aiohttp, none": await to_aiohttp(url, "none"),
        "websockets, none": await to_websockets(ws, "none"),
        "aiohttp, all": await to_aiohttp(url, "all"),
        "websockets, all": await to_websockets(ws, "all"),
        "server_no_context_takeover, second": await to_websockets(ws, "second", extensions=[plain]),
        "a server, none": await to_server(url, "none", received),
    }
    wrong = {
        "aiohttp, second": await to_aiohttp(url, "second"),
        "websockets, second": await to_websockets(ws, "second"),
        "a server, second": await to_server(url, "second", received),
    }
    await runner.cleanup()
    for name, (_, _, third) in (right | wrong).items():
        print(f"{name}: {third}")
    changed = [given[:2] == SENT[:2] and given[2] != SENT[2] and len(given) == 3 for given in wrong.values()]
    return all(given == SENT for given in right.values()) and all(changed)


sys.exit(0 if asyncio.run(main()) else 1)
PY
timeout 60 venv/bin/python show.py
