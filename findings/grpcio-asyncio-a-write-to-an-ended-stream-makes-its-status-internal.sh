#!/usr/bin/env bash
# grpcio 1.85.1, grpc.aio: a request that goes out after the server has ended the stream makes the status of the call
# INTERNAL, "Internal error from Core". The status that the server gave, and the answers that it had sent before and
# that nobody had read yet, are gone.
#
# One would expect what gRPC says of writing: that it fails tells only that the call is over; how it ended,
# RESOURCE_EXHAUSTED and a text here, is told by reading, after the answers. But grpc.aio puts a status of its own in
# the place of the server's and gives it to whoever reads, as long as the server's has not been reached behind the
# answers. So who sends a few requests and reads their answers afterwards learns neither why it ended nor which were
# done, though all of that is in his buffer; INTERNAL is not tried again, and a retry_after that stood in the text is
# not kept. It is the same for write() and for a generator of requests, and a question of who is faster: the third
# request is refused, and only the fourth one hides it. A task that reads all the time meets it less often. grpcio's
# synchronous client has answers and status.
#
# Seen, the server answers two requests and refuses the third: three requests, then reading: two answers and
# RESOURCE_EXHAUSTED; four requests, by write() or by a generator: no answer, and INTERNAL from read(), code() and
# details(); four by the synchronous client: two answers and RESOURCE_EXHAUSTED.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q grpcio==1.85.1
cat >"$folder/show.py" <<'PY'
import asyncio
import sys
import time

import grpc
from grpc import aio

METHOD = "/example.Store/Put"
REFUSED = ([b"stored 0", b"stored 1"], "RESOURCE_EXHAUSTED", "the store is full")


async def put(requests, context):
    count = 0
    async for request in requests:
        count += 1
        if count == 3:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the store is full")
        yield b"stored " + request


async def answers(call):
    """The answers, the status and its text, as they are read."""
    found = []
    try:
        while (answer := await call.read()) is not aio.EOF:
            found.append(answer)
    except grpc.RpcError as error:
        return found, error.code().name, error.details()
    return found, (await call.code()).name, await call.details()


async def written(channel, count):
    call = channel.stream_stream(METHOD)()
    for number in range(count):
        try:
            await call.write(b"%d" % number)
        except grpc.RpcError as error:
            print(f"write() of request {number}: {error.code().name}")
            break
        await asyncio.sleep(0.5)
    seen = await answers(call)
    print(f"{count} by write(): {seen}; code() says {(await call.code()).name}")
    return seen


async def generated(channel, count):
    async def requests():
        for number in range(count):
            yield b"%d" % number
            await asyncio.sleep(0.5)

    call = channel.stream_stream(METHOD)(requests())
    await asyncio.sleep(0.5 * count + 0.5)
    seen = await answers(call)
    print(f"{count} by a generator: {seen}")
    return seen


def synchronous(target, count):
    def requests():
        for number in range(count):
            yield b"%d" % number
            time.sleep(0.5)

    found = []
    with grpc.insecure_channel(target) as channel:
        call = channel.stream_stream(METHOD)(requests())
        time.sleep(0.5 * count + 0.5)
        try:
            for answer in call:
                found.append(answer)
        except grpc.RpcError:
            pass
        seen = found, call.code().name, call.details()
    print(f"{count} by the synchronous client: {seen}")
    return seen


async def main():
    server = aio.server()
    handler = grpc.stream_stream_rpc_method_handler(put)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("example.Store", {"Put": handler}),))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with aio.insecure_channel(target) as channel:
        three, four, given = await written(channel, 3), await written(channel, 4), await generated(channel, 4)
    other = await asyncio.to_thread(synchronous, target, 4)
    await server.stop(None)
    hidden = ([], "INTERNAL", "Internal error from Core")
    return 0 if three == other == REFUSED and four == given == hidden else 1


sys.exit(asyncio.run(main()))
PY
"$folder/venv/bin/python" "$folder/show.py"
