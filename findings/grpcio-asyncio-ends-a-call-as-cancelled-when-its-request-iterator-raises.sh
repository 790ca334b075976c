#!/usr/bin/env bash
# grpcio 1.85.1, grpc.aio: an exception of the generator that makes the requests of a stream is thrown away, and the
# call raises asyncio.CancelledError instead, to a task that nobody has cancelled.
#
# One would expect the ValueError of one's own generator where the call is awaited, or at the least an AioRpcError, as the
# synchronous client has. The CancelledError is no Exception, has no text, no cause and no context, and the real
# error goes to the log at level DEBUG. So `except Exception` does not see it, a retry is not tried, and whatever keeps to
# asyncio's rules takes the task for one that was cancelled on purpose: asyncio.TaskGroup goes on and ends
# without an error, though a part of the upload was never sent. Whoever writes request by request (`call.write()`) has
# his own errors.
#
# Seen: await: CancelledError; in a TaskGroup: no error at all, the task is "cancelled"; the synchronous client:
# RpcError (UNKNOWN, "Exception iterating requests!").
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q grpcio==1.85.1
cat >"$folder/show.py" <<'PY'
import asyncio
import logging
import sys

import grpc
from grpc import aio

METHOD = "/example.Store/Upload"
logging.basicConfig(level=logging.INFO)


async def upload(requests, context):
    async for _ in requests:
        pass
    return b"stored"


def rows():
    yield b"first"
    raise ValueError("the second row cannot be read")


async def rows_later():
    for row in rows():
        yield row


async def call(channel):
    return await channel.stream_unary(METHOD)(rows_later())


async def awaited(channel):
    try:
        return await call(channel)
    except BaseException as error:
        return error


async def in_a_group(channel):
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(call(channel))
    except BaseException as error:
        return error
    return f"no error, the task is {'cancelled' if task.cancelled() else 'done'}"


def synchronous(target):
    with grpc.insecure_channel(target) as channel:
        try:
            return channel.stream_unary(METHOD)(rows())
        except Exception as error:
            return error


async def main():
    server = aio.server()
    handler = grpc.stream_unary_rpc_method_handler(upload)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("example.Store", {"Upload": handler}),))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with aio.insecure_channel(target) as channel:
        alone, grouped = await awaited(channel), await in_a_group(channel)
    other = await asyncio.to_thread(synchronous, target)
    await server.stop(None)
    print(f"awaited: {alone!r}, cause {alone.__cause__!r}, context {alone.__context__!r},"
          f" cancelling() {asyncio.current_task().cancelling()}")
    print(f"in a TaskGroup: {grouped}")
    print(f"synchronous: {type(other).__name__}, {other.code().name}, {other.details()!r}")
    as_stated = (
        isinstance(alone, asyncio.CancelledError)
        and alone.__cause__ is alone.__context__ is None
        and grouped == "no error, the task is cancelled"
        and isinstance(other, grpc.RpcError)
    )
    return 0 if as_stated else 1


sys.exit(asyncio.run(main()))
PY
"$folder/venv/bin/python" "$folder/show.py"
