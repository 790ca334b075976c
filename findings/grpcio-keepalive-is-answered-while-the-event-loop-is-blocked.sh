#!/usr/bin/env bash
# grpcio 1.85.1, grpc.aio: a client's keepalive pings are answered by a server whose event loop is blocked.
#
# One would expect that a server which does not come to run any Python for 9 s misses a keepalive of
# 1 s with a ping timeout of 2 s. It does not: threads of the C core answer pings, and neither the event
# loop nor the GIL is needed. So keepalive tells that a process stands still (below: SIGSTOP) and never
# that its event loop hangs, which only a deadline or a call that the loop must answer can tell.
#
# Seen: blocked loop: answered after 9 s; stopped process: UNAVAILABLE, ping timeout, after 2 to 4 s.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q grpcio==1.85.1
cat >"$folder/show.py" <<'PY'
import asyncio, os, signal, subprocess, sys, time
import grpc

METHOD = "/example.Sleeper/Block"
PINGS = [
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
    ("grpc.http2.max_pings_without_data", 0),
]


async def block(request, context):
    end = time.monotonic() + float(request)
    while time.monotonic() < end:  # the event loop runs nothing else meanwhile
        pass
    return b"done"


async def serve():
    handler = grpc.unary_unary_rpc_method_handler(block)
    server = grpc.aio.server(options=[("grpc.http2.min_ping_interval_without_data_ms", 500)])
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("example.Sleeper", {"Block": handler})]
    )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


async def ask(port, seconds):
    began = time.monotonic()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=PINGS) as channel:
        try:
            answer = await channel.unary_unary(METHOD)(b"0", timeout=20)
            assert answer == b"done"
            seconds_before = time.monotonic()
            if seconds is None:
                os.kill(child.pid, signal.SIGSTOP)
            await channel.unary_unary(METHOD)(str(seconds or 0).encode(), timeout=30)
            outcome = "answered"
        except grpc.aio.AioRpcError as error:
            outcome = error.code().name
    return outcome, time.monotonic() - seconds_before


if sys.argv[1:] == ["serve"]:
    asyncio.run(serve())
    sys.exit()
child = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
try:
    port = int(child.stdout.readline())
    blocked = asyncio.run(ask(port, 9))
    stopped = asyncio.run(ask(port, None))
finally:
    child.kill()
    child.wait()
print(f"event loop blocked for 9 s: {blocked[0]} after {blocked[1]:.1f} s")
print(f"process stopped:            {stopped[0]} after {stopped[1]:.1f} s")
same = blocked[0] == "answered" and blocked[1] >= 9 and stopped[0] == "UNAVAILABLE"
sys.exit(0 if same and stopped[1] < 9 else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
