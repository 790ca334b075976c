#!/usr/bin/env bash
# FastAPI 0.165.0 with uvicorn 0.54.0: a path function that yields its answer (JSON Lines, server-sent events) and
# raises HTTPException before its first item is answered 200, and then the connection breaks.
#
# One would expect the 403 or 404 that the same lines give in every other path function: nothing has been sent when
# they run. But the status and the headers go out before the function is begun. So "is there such a room, may this user
# read it", written where it always is, reaches the client as a success whose body ends too early: clients that look at
# the status take it for done or for a fault of the network, and try again; an EventSource, which a 403 ends for good,
# connects again every few seconds for ever; the access log and the metrics say 200, and the exception, which is no
# fault at all, is logged as one. Handlers of exceptions never see it, nor does one for an error of one's own. What is
# to refuse belongs into a dependency.
#
# Seen: without yield: 403; with yield, JSON Lines: 200 and the body broken off; events: 200 and the body broken off;
# refused by a dependency of either: 403.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q fastapi==0.165.0 uvicorn==0.54.0 httpx==0.28.1
cat >"$folder/show.py" <<'PY'
import asyncio
import socket
import sys
from collections.abc import AsyncIterable

import httpx
import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from fastapi.sse import EventSourceResponse

app = FastAPI()


def refuse():
    raise HTTPException(403, "you are not in this room")


@app.get("/plain")
async def plain() -> dict[str, str]:
    refuse()
    return {"text": "hello"}


@app.get("/lines")
async def lines() -> AsyncIterable[dict[str, str]]:
    refuse()
    yield {"text": "hello"}


@app.get("/events", response_class=EventSourceResponse)
async def events() -> AsyncIterable[dict[str, str]]:
    refuse()
    yield {"text": "hello"}


@app.get("/lines-dependency", dependencies=[Depends(refuse)])
async def lines_dependency() -> AsyncIterable[dict[str, str]]:
    yield {"text": "hello"}


@app.get("/events-dependency", response_class=EventSourceResponse, dependencies=[Depends(refuse)])
async def events_dependency() -> AsyncIterable[dict[str, str]]:
    yield {"text": "hello"}


async def seen(client, path):
    """The status, and whether the body was whole."""
    async with client.stream("GET", path) as response:
        try:
            body = await response.aread()
        except httpx.RemoteProtocolError:
            body = None
    print(f"{path}: {response.status_code}, {'broken off' if body is None else body.decode()}")
    return response.status_code, body is not None


async def main():
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0.05)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
        refused = [await seen(client, path) for path in ("/plain", "/lines-dependency", "/events-dependency")]
        taken = [await seen(client, path) for path in ("/lines", "/events")]
    server.should_exit = True
    await serving
    return 0 if set(refused) == {(403, True)} and set(taken) == {(200, False)} else 1


sys.exit(asyncio.run(main()))
PY
"$folder/venv/bin/python" "$folder/show.py"
