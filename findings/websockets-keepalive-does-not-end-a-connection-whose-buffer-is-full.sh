#!/usr/bin/env bash
# websockets 17.4, asyncio: the keepalive ends a connection whose peer is gone only while next to nothing is on its way
# to it. Once more waits to be sent than `write_limit` (32 KiB) there is no further ping, and neither ping_timeout nor
# close_timeout ends anything.
#
# One would expect what is documented: a peer that does not answer a ping within ping_timeout is taken for lost, and
# with broadcast() a slow connection's messages pile up "until the connection times out". But the keepalive's own ping
# waits, as each send does, until the buffer has room, before the time of its answer begins; of a peer that is gone, it
# never has. So just the connection to which something was being sent when its network went (a phone that left while it
# got its history, or one of a busy group) is there until TCP gives up, a quarter of an hour on Linux: its user is
# online, send() does not come back, and broadcast() adds to the buffer all that time. close() waits for the same room
# before its close_timeout begins. With a keepalive the next turn of that ends it after all, if it was not in the ping
# yet; with ping_interval=None nothing does. What helps: asyncio.timeout() around send() and close(), and
# transport.abort() when it is over.
#
# Seen, with 1 s for ping_interval, ping_timeout and close_timeout, and a client that answers nothing any more: at rest
# the connection ends after 3 s; with 20 MB on their way it is open after 12 s; without a keepalive close() has not
# come back after 8 s.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q websockets==17.4
cat >"$folder/show.py" <<'PY'
import asyncio
import contextlib
import sys
import time

from websockets.asyncio.server import broadcast, serve
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

LONG = "x" * 20_000_000


@contextlib.asynccontextmanager
async def client_that_goes(port):
    """A client that is there for the handshake, and then neither reads nor writes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}/"))
    protocol.send_request(protocol.connect())
    writer.writelines(protocol.data_to_send())
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()
    yield
    writer.transport.abort()


async def ended_after(work, limit, name):
    """Seconds until it had ended, or None."""
    started = time.monotonic()
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait([task], timeout=limit)
    print(f"{name}: {f'ended after {time.monotonic() - started:.1f} s' if done else f'not ended after {limit} s'}")
    task.cancel()
    return bool(done)


@contextlib.asynccontextmanager
async def connection(ping_interval):
    """The server's side of one to such a client."""
    there = asyncio.get_running_loop().create_future()

    async def handler(socket):
        there.set_result(socket)
        await socket.wait_closed()

    async with serve(
        handler, "127.0.0.1", 0, compression=None, ping_interval=ping_interval, ping_timeout=1, close_timeout=1
    ) as server:
        async with client_that_goes(server.sockets[0].getsockname()[1]):
            yield await there


async def main():
    async with connection(1) as socket:
        resting = await ended_after(socket.wait_closed(), 12, "at rest")
    async with connection(1) as socket:
        broadcast([socket], LONG)
        sending = await ended_after(socket.wait_closed(), 12, "20 MB on their way")
        print(f"  state {socket.state.name}, {socket.transport.get_write_buffer_size() // 1_000_000} MB in the buffer")
    async with connection(None) as socket:
        closing = await ended_after(socket.close(), 8, "no keepalive, at rest, close()")
    async with connection(None) as socket:
        broadcast([socket], LONG)
        stuck = await ended_after(socket.close(), 8, "no keepalive, 20 MB on their way, close()")
    return 0 if (resting, sending, closing, stuck) == (True, False, True, False) else 1


sys.exit(asyncio.run(main()))
PY
"$folder/venv/bin/python" "$folder/show.py"
