#!/usr/bin/env bash
# HAProxy 2.6.12, with grpcio 1.85.1: when a server has sent all and ended a stream whose client has not ended its side,
# the proxy tells the client that it was cancelled, and what was sent last is lost.
#
# One would expect that a proxy hands on how a stream has ended. RFC 9113 (8.1) says how a server whose answer is
# complete asks for the end of a request that is not: RST_STREAM with NO_ERROR, after which nothing of the answer may be
# discarded, and grpcio's server does that. HAProxy hands on the messages and the status, and behind them sends a
# RST_STREAM of its own, with CANCEL, which in gRPC is a call that was given up: the client drops the messages that have
# come and were not read yet, and the status, be it OK or an error that says what to do next. So a stream that gives
# what was missed and then ends, or an upload that is refused, works without the proxy, and through it messages are
# missing at the end, the more of them the longer the client works on each, and what was done is tried again as
# cancelled. What helps is a client that ends its side first. (Its issue 1219, which is closed; this is what Debian 12
# has.)
#
# Seen, 20 streams, on each of which a server sends 100 messages and ends, while a client takes 1 ms for each message:
# without HAProxy: 100 and OK, 20 times; through it: that 1 to 3 times, else CANCELLED, after 4 messages or more;
# through it, RESOURCE_EXHAUSTED in the place of OK: CANCELLED 18 to 20 times; through it, when the client ends its side
# first: 100 and OK, 20 times.
# Exits 1 when that is no longer so. Needs Debian 12 (amd64) with python3.11.
set -euo pipefail
folder=$(mktemp -d)
proxy=
trap '[ -z "$proxy" ] || { kill "$proxy"; wait "$proxy"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
apt-get -o APT::Sandbox::User=root download -qq haproxy=2.6.12-1+deb12u4 liblua5.3-0=5.3.6-2 \
    libopentracing-c-wrapper0=1.1.3-3+b1 libopentracing1=1.6.0-4
for package in *.deb; do dpkg-deb -x "$package" proxy; done
python3.11 -m venv venv
venv/bin/pip install -q grpcio==1.85.1
cat >haproxy.cfg <<CFG
defaults
  mode http
  timeout connect 10s
  timeout client 60s
  timeout server 60s
frontend edge
  bind unix@$folder/edge proto h2
  default_backend messages
backend messages
  server one unix@$folder/backend proto h2
CFG
cat >show.py <<'PY'
import asyncio
import collections
import sys

import grpc
from grpc import aio

STREAMS, MESSAGES = 20, 100
WORK = 0.001
METHOD = "/example.Chat/Messages"


async def messages(requests, context):
    """Sends all, and ends without having waited for the end of the requests."""
    refused = await anext(requests) == b"refused"
    for number in range(MESSAGES):
        yield b"%100d" % number
    if refused:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "that was all")


async def read(channel, request, *, ends):
    """How many messages a client gets that works on each of them, and the status that it is told."""
    call = channel.stream_stream(METHOD)()
    await call.write(request)
    if ends:
        await call.done_writing()
    count = 0
    try:
        while await call.read() is not aio.EOF:
            count += 1
            await asyncio.sleep(WORK)
    except grpc.RpcError:
        pass
    return count, (await call.code()).name


async def tell(name, target, request=b"", *, ends=False):
    seen = collections.Counter()
    async with aio.insecure_channel(target) as channel:
        for _ in range(STREAMS):
            seen[await asyncio.wait_for(read(channel, request, ends=ends), 20)] += 1
    whole = sum(times for (count, _), times in seen.items() if count == MESSAGES)
    statuses = collections.Counter()
    for (_, status), times in seen.items():
        statuses[status] += times
    counts = sorted(count for count, _ in seen)
    print(f"{name}: all {MESSAGES} {whole} times, {counts[0]} to {counts[-1]} messages, {dict(statuses)}")
    return whole, statuses


async def main():
    server = aio.server()
    handler = grpc.stream_stream_rpc_method_handler(messages)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("example.Chat", {"Messages": handler}),))
    server.add_insecure_port("unix:backend")
    await server.start()
    direct = await tell("without HAProxy", "unix:backend")
    whole, statuses = await tell("through HAProxy", "unix:edge")
    _, refused = await tell("through HAProxy, refused", "unix:edge", b"refused")
    ended = await tell("through HAProxy, the client ends first", "unix:edge", ends=True)
    await server.stop(None)
    complete = STREAMS, {"OK": STREAMS}
    lost = whole < STREAMS and statuses["CANCELLED"] > 0
    return direct == complete and ended == complete and lost and refused["CANCELLED"] > 0


sys.exit(0 if asyncio.run(main()) else 1)
PY
LD_LIBRARY_PATH="$folder/proxy/usr/lib/x86_64-linux-gnu" proxy/usr/sbin/haproxy -db -f haproxy.cfg >log 2>&1 &
proxy=$!
for _ in $(seq 100); do [ -S edge ] && break; sleep 0.1; done
venv/bin/python show.py
