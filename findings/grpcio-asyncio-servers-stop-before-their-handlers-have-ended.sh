#!/usr/bin/env bash
# grpcio 1.85.1, grpc.aio: `await server.stop(...)` comes back while handlers are still running.
#
# One would expect what is documented: with a grace it waits until all calls are finished or the time is over, and with
# None it "blocks until the last RPC handler terminates". But it waits for the calls, not for the tasks that work on
# them, and a call is over as soon as its client has a status. A handler that was cancelled, by stop() itself, by its
# client or by its deadline, is then still in its `finally`: it rolls back, gives back a lock, writes down how far it
# came. So what follows stop() in a program, the end of its pool of connections and its own, comes under handlers that
# still use the pool: errors at each deployment, locks that nobody gives back, and asyncio.run() cancels what is
# cleaning up a second time and so cuts it short. What helps is to know one's own handlers (by an interceptor) and to
# wait for them before anything is closed.
#
# Seen, a handler with 0.5 s of work in its `finally`: stop(None) back after 0.0 s, that work not done; stop(1) back
# after 1.0 s, not done; a call that its client has cancelled, then stop(10): back after 0.0 s, not done. It was done
# later each time, as the event loop ran on.
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


async def stopped(grace, name, gives_up=False):
    """Whether the handler had ended when stop() came back, and whether it had later."""
    ended = []

    async def put(request, context):
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.5)
            ended.append(True)

    server = aio.server()
    handler = grpc.unary_unary_rpc_method_handler(put)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("example.Store", {"Put": handler}),))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with aio.insecure_channel(target) as channel:
        call = channel.unary_unary(METHOD)(b"")
        await asyncio.sleep(0.5)
        if gives_up:
            call.cancel()
            await asyncio.sleep(0.2)
        started = time.monotonic()
        await server.stop(grace)
        taken, at_once = time.monotonic() - started, bool(ended)
        await asyncio.sleep(2)
    print(f"{name}: stop({grace}) back after {taken:.1f} s, handler ended: {at_once}, two seconds later: {bool(ended)}")
    return at_once, bool(ended)


async def main():
    seen = [
        await stopped(None, "at work"),
        await stopped(1, "at work"),
        await stopped(10, "the client gave up", gives_up=True),
    ]
    return 0 if set(seen) == {(False, True)} else 1


sys.exit(asyncio.run(main()))
PY
"$folder/venv/bin/python" "$folder/show.py"
