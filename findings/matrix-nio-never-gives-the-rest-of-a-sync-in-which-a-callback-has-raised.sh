#!/usr/bin/env bash
# matrix-nio 0.26.0, with Synapse 1.163.2: when a callback raises, the messages after that one, in its room and in all
# other rooms of the same sync, are given to nobody, also when sync_forever() is called again.
#
# One would expect that the client goes on where it was: sync_forever() raises what the callback raised (a database that
# is away for a second, say), one logs it and calls it again, and what was not given comes now, the message at fault
# once more perhaps. But the client notes the position of the next sync (in the store as well, with store_sync_tokens)
# before it begins with the one at hand, and walks through it callback by callback. The first error ends that walk, and
# the next call asks the server for what came after it. On a quiet day a sync holds one message and no other is missed;
# after a restart, a lost connection or in a lively room it holds dozens, of many rooms, and one error drops them, the
# changes of members and names, by which the client knows its rooms, included. What helps is a callback that catches
# everything itself, or one that only puts the event into a queue.
#
# Seen, five messages in one room and three in another, the callback raises once, for the first one that it is given,
# and sync_forever() is called again: 0 of 8, and one that is sent then; with a callback that fills a queue: 8, and it.
# Exits 1 when that is no longer so. Needs Python 3.11 or newer.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv client
client/bin/pip install -q matrix-nio==0.26.0
python3 -m venv synapse
synapse/bin/pip install -q matrix-synapse==1.163.2
cat >show.py <<'PY'
import asyncio
import contextlib
import sys

from nio import AsyncClient, RoomMessageText


async def main(port):
    seen = await given(port, "raising", queued=False)
    others = await given(port, "queueing", queued=True)
    print(f"callback that raises once: {seen}\ncallback that fills a queue: {others}")
    return seen == ([], ["last"]) and [len(texts) for texts in others] == [8, 1]


async def given(port, name, *, queued):
    """The messages that a bot is given of eight, and of one more that is sent then."""
    async with user(port, f"{name}-sender") as sender, user(port, f"{name}-bot") as bot:
        rooms = [await room_of(sender, bot) for _ in range(2)]
        await bot.sync(full_state=True)
        done, to_do = [], asyncio.Queue()
        failing = iter([True])

        async def handle(text):
            if next(failing, False):
                raise ConnectionError("the database is away")
            done.append(text)

        async def on_message(_, event):
            if queued:
                to_do.put_nowait(event.body)
            else:
                await handle(event.body)

        bot.add_event_callback(on_message, RoomMessageText)
        for number in range(1, 6):
            await say(sender, rooms[0], f"{number}")
        for number in range(1, 4):
            await say(sender, rooms[1], f"other {number}")
        await sync(bot, to_do, handle)
        first = done.copy()
        await say(sender, rooms[0], "last")
        await sync(bot, to_do, handle)
        return first, done[len(first) :]


async def sync(bot, to_do, handle):
    """Sync for some seconds, again where it raises; then do what is in the queue, again where that raises."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3):
            while True:
                with contextlib.suppress(ConnectionError):
                    await bot.sync_forever(timeout=500)
    while not to_do.empty():
        text = to_do.get_nowait()
        try:
            await handle(text)
        except ConnectionError:
            await handle(text)


@contextlib.asynccontextmanager
async def user(port, name):
    client = AsyncClient(f"http://127.0.0.1:{port}", name)
    try:
        await client.register(name, "a long enough password")
        yield client
    finally:
        await client.close()


async def room_of(sender, bot):
    room = (await sender.room_create(invite=[bot.user_id])).room_id
    await bot.join(room)
    return room


async def say(client, room, text):
    await client.room_send(room, "m.room.message", {"msgtype": "m.text", "body": text})


sys.exit(0 if asyncio.run(main(*sys.argv[1:])) else 1)
PY
port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
synapse=(synapse/bin/python -m synapse.app.homeserver -c server.yaml)
"${synapse[@]}" --generate-config --server-name localhost --report-stats no --data-directory . >generate.log 2>&1
cat >more.yaml <<EOF
listeners:
  - {port: $port, bind_addresses: ["127.0.0.1"], type: http, resources: [{names: [client]}]}
trusted_key_servers: []
enable_registration: true
enable_registration_without_verification: true
rc_registration: {per_second: 100, burst_count: 100}
rc_message: {per_second: 100, burst_count: 100}
EOF
"${synapse[@]}" -c more.yaml >server.log 2>&1 &
server=$!
python3 -c '
import sys, time, urllib.request
for _ in range(300):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/_matrix/client/versions")
        break
    except OSError:
        time.sleep(0.1)
' "$port"
client/bin/python show.py "$port" 2>/dev/null
