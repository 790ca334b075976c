#!/usr/bin/env bash
# grpcio 1.85.1, grpc.aio (and not): a retry policy in the service config is not followed for a call whose request is
# larger than 256 KiB. The first UNAVAILABLE is what the caller gets, in silence.
#
# One would expect the policy to depend on the method and the status alone, as that is what it is written for, and a
# request that was sent whole in one message to be as good to send again as a small one: it is in memory all
# the while. But a call keeps what it has sent for a retry in a buffer with a limit of its own, and what does not fit
# commits the call to its first attempt. It is far below the 4 MB that a message may have, so what is sent in batches
# is repeated in tests, and on quiet days, and not under load, when batches are large and peers restart.
# What raises the limit is the channel option grpc.per_rpc_retry_buffer_size.
#
# Seen, with a server that answers UNAVAILABLE twice and then OK: 262,000 bytes: OK, 3 attempts; 263,000 bytes:
# UNAVAILABLE, 1 attempt; with a buffer of 8 MiB 3,000,000 bytes: OK, 3 attempts.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q grpcio==1.85.1
cat >"$folder/show.py" <<'PY'
import asyncio
import json
import sys

import grpc
from grpc import aio

METHOD = "/example.Store/Put"
POLICY = {
    "maxAttempts": 5,
    "initialBackoff": "0.01s",
    "maxBackoff": "0.1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
CONFIG = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": POLICY}]})
LARGER = ("grpc.per_rpc_retry_buffer_size", 8 << 20)
attempts = 0


async def put(request, context):
    global attempts
    attempts += 1
    if attempts <= 2:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
    return b"done"


async def call(target, size, options):
    """The status that the caller gets, and how often the server was asked."""
    global attempts
    attempts = 0
    async with aio.insecure_channel(target, options=[("grpc.service_config", CONFIG), *options]) as channel:
        try:
            await channel.unary_unary(METHOD)(b"x" * size)
        except aio.AioRpcError as error:
            return error.code().name, attempts
    return "OK", attempts


async def main():
    server = aio.server()
    handler = grpc.unary_unary_rpc_method_handler(put)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("example.Store", {"Put": handler}),))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    seen = {}
    for size, options in ((262_000, []), (263_000, []), (3_000_000, []), (3_000_000, [LARGER])):
        status, asked = seen[size, bool(options)] = await call(target, size, options)
        buffer = "8 MiB" if options else "not set"
        print(f"{size:9,} bytes, grpc.per_rpc_retry_buffer_size {buffer}: {status}, {asked} attempts")
    await server.stop(None)
    never, again = ("UNAVAILABLE", 1), ("OK", 3)
    return 0 if list(seen.values()) == [again, never, never, again] else 1


sys.exit(asyncio.run(main()))
PY
"$folder/venv/bin/python" "$folder/show.py"
