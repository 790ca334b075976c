#!/usr/bin/env bash
# aioapns 4.0: when a send was cancelled, as by asyncio.timeout() or wait_for(), and its answer comes after all, each
# other notification on that connection that waits for its answer is sent a second time.
#
# One would expect of a send that was given up that its answer, if it still comes, is dropped, and that nobody else
# notices. But the answer is set on the cancelled future, which raises inside the connection's data_received(): asyncio
# closes the connection, all that wait on it are told that it was lost, and the pool sends them anew on another one. One
# connection carries up to a thousand at once, so that one slow answer and a time limit send hundreds of notifications
# twice, of which the server had taken each the first time. Each caller has one result, success; only asyncio's log
# knows. asyncio.shield() around the send gives up waiting and harms nobody.
#
# Shown with a small server that speaks APNs' HTTP/2 and answers when told to. Seen, six notifications on one
# connection, the first answered before the others: five of the others came, on no new connection; with the first sender
# cancelled, ten came, each of the five twice, on one new connection; with it shielded and then cancelled, five.
# All five senders had the status 200 each time.
# Exits 1 when that is no longer so. Needs Python and openssl.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q aioapns==4.0 h2==4.4.1 pyOpenSSL==26.4.0
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem 2>openssl.log
cat >show.py <<'PY'
import asyncio
import logging
import ssl
import sys
from collections import Counter
from pathlib import Path

from aioapns import APNs, NotificationRequest
from aioapns.connection import APNsProductionClientProtocol
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded

OTHERS = [f"other-{number}" for number in range(5)]
LIMIT = 20


class Apple:
    """Takes notifications, counts them by device, and answers the newest one of a device when told to."""

    def __init__(self):
        self.pushed = Counter()
        self.connections = 0
        self._streams = {}
        self._changed = asyncio.Condition()

    async def serve(self, reader, writer):
        self.connections += 1
        peer = H2Connection(H2Configuration(client_side=False))
        peer.initiate_connection()
        requests = {}
        try:
            writer.write(peer.data_to_send())
            while data := await reader.read(65536):
                for event in peer.receive_data(data):
                    if isinstance(event, RequestReceived):
                        requests[event.stream_id] = dict(event.headers)
                    elif isinstance(event, StreamEnded):
                        await self._take(requests[event.stream_id], peer, writer, event.stream_id)
                writer.write(peer.data_to_send())
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _take(self, headers, *stream):
        device = headers[b":path"].decode().rpartition("/")[2]
        async with self._changed:
            self.pushed[device] += 1
            self._streams[device] = (*stream, headers[b"apns-id"])
            self._changed.notify_all()

    async def has(self, count):
        async with asyncio.timeout(LIMIT), self._changed:
            await self._changed.wait_for(lambda: self.pushed.total() >= count)

    def answer(self, device):
        peer, writer, stream, name = self._streams[device]
        peer.send_headers(stream, [(":status", "200"), ("apns-id", name)], end_stream=True)
        writer.write(peer.data_to_send())


async def sent_to_others(apns, apple, name, *, wrap=lambda send: send, given_up):
    """How many came for the others, on how many new connections, and which answers they had."""

    async def send(device):
        return await apns.send_notification(NotificationRequest(device, {"aps": {"alert": "hello"}}))

    apple.pushed.clear()
    inner = asyncio.create_task(send("slow"))
    slow = asyncio.ensure_future(wrap(inner))
    others = [asyncio.create_task(send(device)) for device in OTHERS]
    await apple.has(1 + len(OTHERS))
    before = apple.connections
    if given_up:
        slow.cancel()
        await asyncio.wait([slow])
    apple.answer("slow")
    if inner.cancelled():
        await apple.has(1 + 2 * len(OTHERS))
    else:
        await asyncio.wait_for(inner, LIMIT)
    for device in OTHERS:
        apple.answer(device)
    results = await asyncio.wait_for(asyncio.gather(*others), LIMIT)
    came = [apple.pushed[device] for device in OTHERS]
    statuses = {result.status for result in results}
    connections = apple.connections - before
    print(f"{name}: came for each of the others {came}, {connections} new connections, answers {statuses}")
    return came, connections, statuses


async def main():
    logging.disable()
    apple = Apple()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("cert.pem", "key.pem")
    server = await asyncio.start_server(apple.serve, "127.0.0.1", 0, ssl=context)
    APNsProductionClientProtocol.APNS_SERVER = "localhost"
    APNsProductionClientProtocol.APNS_PORT = server.sockets[0].getsockname()[1]
    trust = ssl.create_default_context(cafile="cert.pem")
    key = Path("key.pem").read_text()
    apns = APNs(key=key, key_id="KEY", team_id="TEAM", topic="org.example.app", ssl_context=trust)
    # The connection is there before the first of them, as in a process that runs.
    warm = asyncio.create_task(apns.send_notification(NotificationRequest("warm", {"aps": {"alert": "hello"}})))
    await apple.has(1)
    apple.answer("warm")
    await asyncio.wait_for(warm, LIMIT)
    seen = [
        await sent_to_others(apns, apple, "all wait", given_up=False),
        await sent_to_others(apns, apple, "one cancelled", given_up=True),
        await sent_to_others(apns, apple, "one shielded", wrap=asyncio.shield, given_up=True),
    ]
    apns.pool.close()
    server.close()
    once, twice = [1] * len(OTHERS), [2] * len(OTHERS)
    return seen == [(once, 0, {"200"}), (twice, 1, {"200"}), (once, 0, {"200"})]


sys.exit(0 if asyncio.run(main()) else 1)
PY
venv/bin/python show.py
