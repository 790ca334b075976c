#!/usr/bin/env bash
# aiokafka 0.14.0: `AIOKafkaAdminClient.list_consumer_group_offsets` answers an empty dict when the group's
# coordinator refuses the question, as one does that loads the group's offsets (just started, or just made
# the leader: COORDINATOR_LOAD_IN_PROGRESS) or is the coordinator no more (NOT_COORDINATOR).
#
# One would expect an error: "As soon as any error is encountered, it is immediately raised", its
# documentation says, and an empty dict is the answer for a group that has committed nothing. Who reckons a
# lag by it shows the whole topic as not consumed, or nothing at all, and who copies offsets copies none. From
# version 2 of the protocol on such an error is one of the whole answer, beside the topics, and it is looked
# for in the partitions alone, of which there are none then. `AIOKafkaConsumer.committed` looks for it, and
# asks again.
#
# Shown with a small server that speaks as much of Kafka's protocol as the client needs. Seen: {} for a
# coordinator that loads, for one that is no more, and for a group that has committed nothing.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q aiokafka==0.14.0
cat >"$folder/show.py" <<'PY'
import asyncio, struct, sys
from aiokafka.admin import AIOKafkaAdminClient

METADATA, OFFSET_FETCH, FIND_COORDINATOR, API_VERSIONS = 3, 9, 10, 18
NONE, COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR = 0, 14, 16
VERSIONS = {METADATA: 1, OFFSET_FETCH: 2, FIND_COORDINATOR: 0, API_VERSIONS: 0}


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def answer_to(key, port, error):
    address = struct.pack(">i", 1) + text("127.0.0.1") + struct.pack(">i", port)
    if key == API_VERSIONS:
        apis = b"".join(struct.pack(">hhh", api, v, v) for api, v in VERSIONS.items())
        return struct.pack(">hi", 0, len(VERSIONS)) + apis
    if key == METADATA:
        # One broker without a rack, which is the controller; no topics.
        return struct.pack(">i", 1) + address + struct.pack(">hii", -1, 1, 0)
    if key == FIND_COORDINATOR:
        return struct.pack(">h", 0) + address
    assert key == OFFSET_FETCH
    # No topics, and the error of the whole answer.
    return struct.pack(">ih", 0, error)


async def asked(error):
    """What the client says of a group whose coordinator answers with this error."""
    port = 0

    async def speak(reader, writer):
        while True:
            try:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                request = await reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            key, _, number = struct.unpack_from(">hhi", request)
            body = struct.pack(">i", number) + answer_to(key, port, error)
            writer.write(struct.pack(">i", len(body)) + body)

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}")
    await admin.start()
    try:
        return await admin.list_consumer_group_offsets("g")
    except Exception as raised:
        return raised
    finally:
        await admin.close()


async def main():
    found = {}
    for name, error in (
        ("a group that has committed nothing", NONE),
        ("a coordinator that loads the group", COORDINATOR_LOAD_IN_PROGRESS),
        ("a coordinator that is it no more", NOT_COORDINATOR),
    ):
        found[name] = await asked(error)
        print(f"{name}: {found[name]!r}")
    return all(answer == {} for answer in found.values())


sys.exit(0 if asyncio.run(main()) else 1)
PY
"$folder/venv/bin/python" "$folder/show.py" 2>/dev/null
