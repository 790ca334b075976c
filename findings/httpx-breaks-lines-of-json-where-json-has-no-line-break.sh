#!/usr/bin/env bash
# httpx 0.28.1 with JSON Lines as FastAPI 0.165.0 writes them: iter_lines() and aiter_lines() break a line inside a
# JSON string, at U+2028, U+2029 and U+0085, and no half of it can be parsed.
#
# One would expect lines that end at a line feed, as JSON Lines and server-sent events have them, and as `async for
# line in response.content` of aiohttp gives them. But httpx breaks where str.splitlines() would. JSON need not escape
# these three characters, and pydantic, msgspec, orjson and JSON.stringify don't; only json.dumps does, which is why it
# works in tests. Each of them comes in with text that was copied from a word processor, a PDF or a web page. Then one
# message of somebody's ends every client that follows the stream: json.loads raises in the middle of a line that the
# server wrote right, and again after each new connection, as long as that message is in the history. Whoever ignores
# lines that cannot be parsed loses it without a word. Splitting aiter_bytes() at b"\n" has the lines as they are.
#
# Seen, three messages, the second with U+2028 in its text: httpx 4 lines, of which 2 are no JSON; aiohttp 3.14.5: 3
# lines, all of them JSON.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q httpx==0.28.1 fastapi==0.165.0 uvicorn==0.54.0 aiohttp==3.14.5
cat >"$folder/show.py" <<'PY'
import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterable

import aiohttp
import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

TEXTS = ["hello", "first line\N{LINE SEPARATOR}second line", "bye"]
app = FastAPI()


class Message(BaseModel):
    text: str


@app.get("/messages")
async def messages() -> AsyncIterable[Message]:
    for text in TEXTS:
        yield Message(text=text)


def texts(name, lines):
    """Of each line its text, or None where it is no JSON."""
    found = []
    for line in lines:
        try:
            found.append(json.loads(line)["text"])
        except ValueError:
            found.append(None)
    print(f"{name}: {len(found)} lines, {found.count(None)} of them no JSON")
    return found


async def by_httpx(url):
    async with httpx.AsyncClient() as client, client.stream("GET", url) as response:
        return [line async for line in response.aiter_lines()]


async def by_aiohttp(url):
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return [line async for line in response.content]


async def main():
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0.05)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/messages"
    broken, whole = texts("httpx", await by_httpx(url)), texts("aiohttp", await by_aiohttp(url))
    server.should_exit = True
    await serving
    return 0 if broken == ["hello", None, None, "bye"] and whole == TEXTS else 1


sys.exit(asyncio.run(main()))
PY
"$folder/venv/bin/python" "$folder/show.py"
