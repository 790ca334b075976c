"""What the logs of all processes say, and what they never say."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from im_people import PASSWORD, Device, User, register

from im_local.testing import System

PROCESSES = ("user", "auth", "friend", "group", "chat", "chat-mq", "ws-gateway", "api-gateway")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
async def talkative(tmp_path: Path) -> AsyncIterator[System]:
    """A system of its own, that logs all that it can."""
    env = {"IM_LOG__LEVEL": "debug", "IM_LOG__ENCODING": "json", "IM_BCRYPT_COST": "4"}
    async with System.start(tmp_path, env=env) as running:
        yield running


class Secrets:
    """Texts that no log may have."""

    def __init__(self) -> None:
        self.all: dict[str, str] = {"password": PASSWORD}

    def make(self, what: str) -> str:
        text = self.all[what] = f"{what}-{secrets.token_hex(8)}"
        return text

    def of(self, user: User) -> None:
        self.all[f"access token of {user.user_id}"] = user.access_token
        self.all[f"refresh token of {user.user_id}"] = user.refresh_token
        # Who has the signature has the token, however the rest is cut.
        self.all[f"signature of {user.user_id}"] = user.access_token.rpartition(".")[2]


async def converse(http: httpx.AsyncClient, ws: str, texts: Secrets) -> None:
    """What goes well and what does not, by WebSocket (the token in its address, too) and HTTP."""
    a, b = await register(http), await register(http)
    for user in (a, b):
        texts.of(user)
    async with (
        await Device.connect(ws, a) as device_a,
        await Device.connect(ws, b, query=f"?token={b.access_token}") as device_b,
    ):
        await device_a.ask(to=b.user_id, content=texts.make("content"))
        await device_b.wait_count("message", 1)
        ext = {"note": texts.make("ext")}
        await device_a.ask(to=b.user_id, content=texts.make("with-ext"), ext=ext)
        await device_a.ask(to=b.user_id + 1000, content=texts.make("refused"))
        await device_a.send(type="chat", to="nobody", content=texts.make("bad-frame"))
        await device_a.socket.send(texts.make("no-json"))
        await device_a.wait_count("error", 3)
        await send_by_http(a, b, texts)
    for password in (PASSWORD, texts.make("wrong-password")):
        login = {"username": a.username, "password": password}
        answer = await http.post("/v1/auth/login", json=login)
        if answer.status_code == 200:
            texts.of(User.of(http, a.username, answer.json()))
    new = {"old_password": PASSWORD, "new_password": texts.make("new-password")}
    changed = await b.request("POST", "/v1/auth/password", json=new)
    assert changed.status_code == 204, changed.text
    stale = texts.make("bad-token")
    await http.get("/v1/users/me", headers={"Authorization": f"Bearer {stale}"})
    await http.post("/v1/auth/refresh", json={"refresh_token": a.refresh_token})


async def send_by_http(a: User, b: User, texts: Secrets) -> None:
    body = {"to": b.user_id, "content": texts.make("by-http"), "client_msg_id": "h-1"}
    headers = {**a.bearer, "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "X-Request-Id": "r-1"}
    sent = await a.http.post("/v1/messages", json=body, headers=headers)
    assert sent.status_code < 300, sent.text
    at = f"/v1/conversations/{sent.json()['conversation_id']}/messages"
    await a.get(at, limit=10)
    await a.get("/v1/messages/search", q=texts.make("sought"))
    # A body that cannot be read, with the message in it.
    await a.request(
        "POST", "/v1/messages", content=b'{"content": "%s"' % texts.make("cut").encode()
    )


async def test_logs_are_json_with_the_ids_of_requests_and_no_secret_or_message(
    talkative: System,
) -> None:
    texts = Secrets()
    async with httpx.AsyncClient(base_url=talkative.ready.api, verify=False) as http:
        await converse(http, talkative.any_ws(), texts)
    for file in (talkative.data / "secrets").rglob("*"):
        if file.is_file() and (secret := file.read_text().strip()):
            texts.all[f"file {file.name}"] = secret
    # All of it is in the files when they have ended.
    await asyncio.to_thread(talkative.stop)
    logs = {name: talkative.log(name) for name in PROCESSES}
    found = [
        (process, what)
        for process, log in logs.items()
        for what, text in texts.all.items()
        if text in log
    ]
    assert found == []
    lines = {name: [json.loads(line) for line in log.splitlines()] for name, log in logs.items()}
    for name, of_process in lines.items():
        assert of_process, name
        assert all({"event", "level", "timestamp", "service"} <= set(line) for line in of_process)
    # One request is found in each process that it came through.
    for name in ("api-gateway", "chat"):
        (line,) = [one for one in lines[name] if one.get("request_id") == "r-1"]
        assert line["trace_id"] == TRACE
