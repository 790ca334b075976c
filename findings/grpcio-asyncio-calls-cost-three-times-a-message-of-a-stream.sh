#!/usr/bin/env bash
# grpcio 1.85.1, grpc.aio on Python 3.11: a unary call costs client and server two to four times the
# processor time of a request and its answer on a stream that is open.
#
# gRPC's own guide to performance says of Python that streams are slower than unary calls, and of asyncio
# only that it may help. With asyncio it is the other way round, by far: what a call costs is mostly what
# is done once for each (the call, its metadata, its state and its end), on both sides, and a
# stream does that once. So who asks the same peer all the time asks by a stream of requests that are
# answered in turn; deadline and cancellation of one request are then the caller's own to keep.
#
# Seen: client 318 us a call and 129 us on the stream, server 410 and 150; ratios 2.5 and 2.7.
# Exits 1 when a call costs less than 1.5 times as much, on either side.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q grpcio==1.85.1
cat >"$folder/show.py" <<'PY'
import asyncio, os, subprocess, sys, time
from statistics import median

import grpc

NAME, BODY, EACH, TURNS = "example.Echo", b"x" * 300, 1000, 5


async def call(request, _):
    return request


async def stream(requests, _):
    async for request in requests:
        yield request


async def serve():
    handlers = {
        "Call": grpc.unary_unary_rpc_method_handler(call),
        "Stream": grpc.stream_stream_rpc_method_handler(stream),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(NAME, handlers)])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


def used(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def cost(ask, pid):
    """Microseconds of the processor for each: of the client, of the server."""
    before = time.process_time(), used(pid)
    for _ in range(EACH):
        assert await ask() == BODY
    after = time.process_time(), used(pid)
    return [(b - a) / EACH * 1e6 for a, b in zip(before, after)]


async def compare(port, pid):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        calling = channel.unary_unary(f"/{NAME}/Call")
        streaming = channel.stream_stream(f"/{NAME}/Stream")()

        async def by_call():
            return await calling(BODY, timeout=10)

        async def by_stream():
            await streaming.write(BODY)
            return await streaming.read()

        found = []
        for _ in range(TURNS):
            found.append((await cost(by_call, pid), await cost(by_stream, pid)))
        await streaming.done_writing()
    return found


if sys.argv[1:] == ["serve"]:
    asyncio.run(serve())
    sys.exit()
child = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
try:
    found = asyncio.run(compare(int(child.stdout.readline()), child.pid))
finally:
    child.kill()
    child.wait()
ratios = []
for side, name in enumerate(("client", "server")):
    one, other = (median(pair[kind][side] for pair in found) for kind in (0, 1))
    ratios.append(one / other)
    print(f"{name}: {one:.0f} us a call, {other:.0f} us on the stream: {one / other:.1f} times")
sys.exit(0 if min(ratios) >= 1.5 else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
