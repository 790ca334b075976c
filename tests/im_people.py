"""A client as an application would write it: HTTP for accounts and reads, a WebSocket for messages."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Frame = dict[str, Any]
PASSWORD = "correct horse battery"
Found = TypeVar("Found")
_names = itertools.count()


@dataclass
class User:
    """An account that is logged in over HTTP."""

    http: httpx.AsyncClient
    username: str
    user_id: int
    session_id: str
    access_token: str
    refresh_token: str

    @classmethod
    def of(cls, http: httpx.AsyncClient, username: str, answer: dict[str, Any]) -> Self:
        """From what register, login or refresh answered."""
        fields = ("user_id", "session_id", "access_token", "refresh_token")
        return cls(http, username, *(answer[name] for name in fields))

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"}

    async def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return await self.http.request(method, path, headers=self.bearer, **arguments)

    async def get(self, path: str, **params: Any) -> Any:
        """A route that must answer 200."""
        response = await self.request("GET", path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    async def history(self, conversation_id: str, *, after_seq: int | None = None) -> list[Frame]:
        """All messages of a conversation (above a seq), oldest first, read in pages."""
        messages: list[Frame] = []
        while True:
            bound = {"before_seq": 101} if after_seq is None else {"after_seq": after_seq}
            page = await self.get(
                f"/v1/conversations/{conversation_id}/messages", limit=100, **bound
            )
            messages += page["items"]
            after_seq = messages[-1]["seq"] if messages else after_seq
            if len(page["items"]) < 100:
                return messages


def new_name() -> str:
    """A username that nobody has."""
    return f"u{next(_names)}.{secrets.token_hex(5)}"


async def register(http: httpx.AsyncClient, **more: Any) -> User:
    """A new account with a name that nobody has."""
    username = new_name()
    body = {"username": username, "password": PASSWORD, **more}
    response = await http.post("/v1/auth/register", json=body)
    assert response.status_code == 201, response.text
    return User.of(http, username, response.json())


async def make_group(owner: User, *members: User) -> int:
    body = {"name": "team", "member_ids": [member.user_id for member in members]}
    response = await owner.request("POST", "/v1/groups", json=body)
    assert response.status_code == 201, response.text
    return int(response.json()["group_id"])


def single(a: User, b: User) -> str:
    low, high = sorted((a.user_id, b.user_id))
    return f"s:{low}:{high}"


class Device:
    """A WebSocket that reads all the time, and lets tests wait for what they expect.

    ``frames`` has everything that came, in order; offline batches are confirmed when ``confirm``.
    """

    def __init__(self, socket: ClientConnection, *, confirm: bool = True) -> None:
        self.socket = socket
        self.confirm = confirm
        self.frames: list[Frame] = []
        self.ended = False
        self._changed = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, url: str, user: User, *, confirm: bool = True, query: str = "") -> Self:
        """Connects and waits for `hello`."""
        socket = await connect(url + query, additional_headers=user.bearer, compression=None)
        device = cls(socket, confirm=confirm)
        await device.wait_for(lambda f: f["type"] == "hello")
        return device

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def ask(self, **frame: Any) -> Frame:
        """Sends a `chat` frame and waits for the `sent` or `error` that answers it."""
        frame.setdefault("client_msg_id", secrets.token_hex(8))
        await self.send(type="chat", **frame)
        return await self.wait_for(
            lambda f: (
                f["type"] in ("sent", "error") and f.get("client_msg_id") == frame["client_msg_id"]
            )
        )

    async def wait_for(self, wanted: Callable[[Frame], bool], *, limit_s: float = 15) -> Frame:
        """The first frame, past or to come, that is wanted."""

        def found() -> Frame | None:
            return next((frame for frame in self.frames if wanted(frame)), None)

        return await self._wait(found, limit_s)

    async def wait_count(self, kind: str, count: int, *, limit_s: float = 30) -> list[Frame]:
        """Waits until so many frames of a kind are there, and gives them."""

        def enough() -> list[Frame] | None:
            of_kind = self.of(kind)
            return of_kind if len(of_kind) >= count else None

        return await self._wait(enough, limit_s)

    def of(self, kind: str) -> list[Frame]:
        return [frame for frame in self.frames if frame["type"] == kind]

    def received(self) -> list[Frame]:
        """All messages in the order in which they came, those of offline batches included."""
        messages: list[Frame] = []
        for frame in self.frames:
            if frame["type"] == "message":
                messages.append(frame)
            elif frame["type"] == "offline":
                messages += frame["frames"]
        return messages

    async def wait_received(self, count: int, *, limit_s: float = 30) -> list[Frame]:
        def enough() -> list[Frame] | None:
            received = self.received()
            return received if len(received) >= count else None

        return await self._wait(enough, limit_s)

    async def stream(self) -> AsyncIterator[Frame]:
        """All frames from the first on, until the connection ends."""
        position = 0
        while True:
            async with self._changed:
                while position == len(self.frames) and not self.ended:
                    await self._changed.wait()
            if position == len(self.frames):
                return
            frame = self.frames[position]
            position += 1
            yield frame

    async def wait_closed(self, *, limit_s: float = 15) -> int:
        """Waits for the end of the connection; gives the close code."""
        await asyncio.wait_for(asyncio.shield(self._reader), limit_s)
        return self.socket.close_code or 1006

    async def close(self) -> None:
        await self.socket.close()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                frame = json.loads(text)
                if frame["type"] == "offline" and self.confirm:
                    await self.send(type="offline_ack", batch_id=frame["batch_id"])
                async with self._changed:
                    self.frames.append(frame)
                    self._changed.notify_all()
        except ConnectionClosed:
            pass
        finally:
            self.ended = True
        async with self._changed:
            self._changed.notify_all()

    async def _wait(self, look: Callable[[], Found | None], limit_s: float) -> Found:
        try:
            async with asyncio.timeout(limit_s), self._changed:
                while (found := look()) is None:
                    assert not self.ended, f"the connection has ended: {self.socket.close_code}"
                    await self._changed.wait()
                return found
        except TimeoutError:
            kinds = [frame["type"] for frame in self.frames]
            tally = {kind: kinds.count(kind) for kind in set(kinds)}
            raise AssertionError(f"not seen within {limit_s} s; had {tally}") from None


MakeUser = Callable[[], Awaitable[User]]
Connect = Callable[..., Awaitable[Device]]
