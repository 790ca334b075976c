#!/usr/bin/env bash
# aiokafka 0.14.0: while a client connects to a broker that accepts and says nothing (frozen, or behind a
# full disk), it opens no connection to any other broker.
#
# One would expect that of three brokers a silent one holds up what is for it, and that what is for the
# others goes on. But a client opens its connections one after the other, under one lock, which it keeps
# until the handshake with the broker is done: for `request_timeout_ms`, 40 s unless set. A client that has
# just started, or has lost its connections, so waits for the silent one first, each time that it tries it:
# to find a new leader, to ask another broker for metadata, or to reach its group.
#
# Shown with three small servers that speak as much of Kafka's protocol as a client needs to connect. Seen,
# with a limit of 3 s: the third broker is connected to after the 2.8 s that are left; else after 0.0 s.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q aiokafka==0.14.0
cat >"$folder/show.py" <<'PY'
import asyncio, struct, sys, time
from aiokafka.client import AIOKafkaClient

LIMIT_S = 3.0
API_VERSIONS, METADATA = 18, 3
ports = []


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def answer_to(key):
    if key == API_VERSIONS:
        apis = ((METADATA, 0, 0), (API_VERSIONS, 0, 0))
        return struct.pack(">hi", 0, len(apis)) + b"".join(struct.pack(">hhh", *api) for api in apis)
    brokers = b"".join(
        struct.pack(">i", node) + text("127.0.0.1") + struct.pack(">i", port)
        for node, port in enumerate(ports, 1)
    )
    return struct.pack(">i", len(ports)) + brokers + struct.pack(">i", 0)


async def speaks(reader, writer):
    while True:
        try:
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            request = await reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        key, _, number = struct.unpack_from(">hhi", request)
        body = struct.pack(">i", number) + answer_to(key)
        writer.write(struct.pack(">i", len(body)) + body)


async def says_nothing(reader, writer):
    await asyncio.sleep(3600)


async def seconds(second):
    """Until the third broker is connected to, when the client has just turned to the second one."""
    ports.clear()
    for serve in (speaks, second, speaks):
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
    client = AIOKafkaClient(
        bootstrap_servers=f"127.0.0.1:{ports[0]}", request_timeout_ms=int(LIMIT_S * 1000)
    )
    await client.bootstrap()
    turning = asyncio.create_task(client.ready(2))
    await asyncio.sleep(0.2)
    begun = time.monotonic()
    assert await client.ready(3)
    took = time.monotonic() - begun
    await turning
    await client.close()
    return took


async def main():
    beside, silent = await seconds(speaks), await seconds(says_nothing)
    print(f"the third broker is connected to after {beside:.1f} s; beside a silent one after {silent:.1f} s")
    return beside < 0.5 and silent > LIMIT_S - 1


sys.exit(0 if asyncio.run(main()) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py" 2>/dev/null
