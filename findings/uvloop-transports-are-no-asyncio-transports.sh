#!/usr/bin/env bash
# uvloop 0.23.0, Python 3.11: its transports are not instances of asyncio's classes.
#
# asyncio documents that Protocol.connection_made() gets "the transport representing the connection", and
# types it as asyncio.BaseTransport; one narrows that by isinstance(transport, asyncio.Transport). On
# uvloop this is False for TCP and for pipes, and so is BaseTransport (they are no virtual subclasses
# either), though every method is there.
#
# Seen: asyncio: tcp True True, pipe True True; uvloop: tcp False False, pipe False False.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q uvloop==0.23.0
cat >"$folder/show.py" <<'PY'
import asyncio
import os

import uvloop


class Note(asyncio.Protocol):
    def __init__(self, made):
        self.made = made

    def connection_made(self, transport):
        if not self.made.done():
            self.made.set_result(transport)


def classes(transport):
    return f"{isinstance(transport, asyncio.Transport)} {isinstance(transport, asyncio.BaseTransport)}"


async def main():
    loop = asyncio.get_running_loop()
    tcp, pipe = loop.create_future(), loop.create_future()
    server = await loop.create_server(lambda: Note(tcp), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
    _, end = os.pipe()
    writing, _ = await loop.connect_write_pipe(lambda: Note(pipe), os.fdopen(end, "wb"))
    of_tcp, of_pipe = classes(await tcp), str(isinstance(writing, asyncio.BaseTransport))
    client.close()
    writing.close()
    server.close()
    return f"tcp {of_tcp}, pipe {of_pipe}"


with asyncio.Runner() as runner:
    print("asyncio:", runner.run(main()))
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    print("uvloop:", runner.run(main()))
PY
output=$("$folder/venv/bin/python" "$folder/show.py")
printf '%s\n' "$output"
expected="asyncio: tcp True True, pipe True
uvloop: tcp False False, pipe False"
[[ $output == "$expected" ]] || { echo "it has changed" >&2; exit 1; }
