#!/usr/bin/env bash
# granian 2.8.7 (ASGI): at SIGTERM a WebSocket's handler that is at work, as on a message from the client, is dropped
# where it is: no CancelledError, no `finally`, nothing after its await, and the client is sent no close frame.
#
# One would expect what granian itself does for HTTP, where it waits for the requests at work before it ends, or what
# asyncio does at the end of a run, where each task is cancelled and its `finally` is done. A handler that waits in
# receive() is given a websocket.disconnect, if it is quick, so that an echo, or any test that is quiet at the end, shows
# nothing. One that awaits anything else then, a database or a lock, is gone with the process: the transaction is not
# rolled back by the client, the user stays online, the lock stays held, and a message that the gateway has taken is
# neither stored nor refused. The client sees 1006, as when the server has crashed. `lifespan.shutdown` comes while they
# are at work, too early for one who closes there what they work with. What helps is to count them in the application,
# and to wait there until there are none.
#
# Seen, a handler with 1 s of work when SIGTERM comes: granian, WebSocket: began; 1006 to the client. HTTP: began, done,
# finally; 200. WebSocket, and lifespan.shutdown waits for it: began, done, finally. uvicorn 0.54.0, WebSocket: began,
# done, finally; 1012.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q granian==2.8.7 uvicorn==0.54.0 websockets==17.4
cat >application.py <<'PY'
import asyncio
import os

at_work = []


def note(word):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{word} ")


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        while at_work and "WAITS" in os.environ:
            await asyncio.sleep(0.05)
        await send({"type": "lifespan.shutdown.complete"})
        return
    at_work.append(scope)
    try:
        await (answer if scope["type"] == "http" else talk)(receive, send)
    finally:
        note("finally")
        at_work.remove(scope)


async def talk(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    await work()


async def answer(receive, send):
    await work()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def work():
    note("began")
    await asyncio.sleep(1)
    note("done")
PY
cat >show.py <<'PY'
import asyncio
import contextlib
import os
import pathlib
import socket
import subprocess
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def websocket(port):
    """How the server closed the connection."""
    async with connect(f"ws://127.0.0.1:{port}/") as client:
        await client.send("a message")
        try:
            await client.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006


async def http(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


async def seen(name, command, ask, **settings):
    """What the handler has noted, and what the client saw, when SIGTERM comes after it began."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    notes = pathlib.Path(f"{name}.notes")
    notes.touch()
    process = subprocess.Popen(
        [f"venv/bin/{command[0]}", *command[1:], "--host", "127.0.0.1", "--port", str(port), "application:application"],
        env=os.environ | settings | {"NOTES": str(notes)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await listening(port)
        asked = asyncio.create_task(ask(port))
        while "began" not in notes.read_text():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        process.terminate()
        told = await asyncio.wait_for(asked, 20)
        await asyncio.to_thread(process.wait, 20)
    finally:
        process.kill()
    print(f"{name}: {notes.read_text()}; {told}")
    return notes.read_text().split(), told


async def listening(port):
    for _ in range(200):
        with contextlib.suppress(OSError):
            (await asyncio.open_connection("127.0.0.1", port))[1].close()
            return
        await asyncio.sleep(0.1)
    raise TimeoutError


async def main():
    granian = ["granian", "--interface", "asgi"]
    return [
        await seen("granian, WebSocket", granian, websocket),
        await seen("granian, HTTP", granian, http),
        await seen("granian, WebSocket that is waited for", granian, websocket, WAITS="yes"),
        await seen("uvicorn, WebSocket", ["uvicorn", "--ws", "websockets"], websocket),
    ]


whole = ["began", "done", "finally"]
dropped, request, waited, other = asyncio.run(main())
holds = (dropped, request, waited[0], other) == ((["began"], 1006), (whole, 200), whole, (whole, 1012))
sys.exit(0 if holds else 1)
PY
venv/bin/python show.py
