"""One WebSocket that is always there again: it comes back after whatever ended it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from im_client import close_codes
from im_client.close_codes import Action, Random, after_close, backoff_s
from im_client.errors import ApiError
from im_client.parts import Frame, within
from im_client.session import Session

_HELLO_S = 10.0
_PONG_S = 10.0
_HEARTBEAT_S = 30.0
_CLOSE_S = 2.0
# A connection that lasted for less does not count as a success.
_PROVEN_S = 5.0
_LONGEST_BYTES = 16 * 1024 * 1024


class State(StrEnum):
    OFF = "off"
    CONNECTING = "connecting"
    ONLINE = "online"
    # For the next attempt.
    WAITING = "waiting"


@dataclass(frozen=True)
class End:
    """How a connection ended, and with which token it was tried."""

    code: int
    reason: str = ""
    token: str = ""
    kicked_for: str = ""
    retry_after_s: float = 0.0


@dataclass(frozen=True)
class Uses:
    """What a connection needs of others. ``urls`` says where the gateways are (ApiError: not now);
    ``query`` what is in the address; ``on_replaced``: another connection came under this one's name."""

    session: Session
    urls: Callable[[], Awaitable[list[str]]]
    query: Callable[[], dict[str, str]]
    on_frame: Callable[[Frame], Awaitable[None]]
    on_state: Callable[[State], None]
    on_replaced: Callable[[], None]
    ssl: ssl.SSLContext | None = None
    chance: Random = random.random


class Connection:
    def __init__(self, uses: Uses) -> None:
        self._uses = uses
        self.state = State.OFF
        self._attempt = 0
        self._last = ""
        self._is_elsewhere = True
        self._socket: ClientConnection | None = None
        self._outgoing: asyncio.Queue[Frame] = asyncio.Queue()
        self._nudged = asyncio.Event()
        self._greeted_at: float | None = None
        self._heartbeat_s = _HEARTBEAT_S
        self._kicked_for = ""

    async def run(self) -> None:
        """Until the session is over, or it is cancelled."""
        try:
            while True:
                self._is(State.CONNECTING)
                try:
                    token = await self._uses.session.access()
                    url = self._choose(await self._uses.urls())
                except ApiError:
                    if self._uses.session.user_id is None:
                        return
                    await self._wait(backoff_s(self._attempt, self._uses.chance))
                    self._attempt += 1
                    continue
                if not await self._goes_on_after(await self._once(url, token)):
                    return
        finally:
            self._is(State.OFF)

    def send(self, frame: Frame) -> bool:
        """Whether the frame was handed to a connection; that it arrives nobody knows."""
        if self.state is not State.ONLINE:
            return False
        self._outgoing.put_nowait(frame)
        return True

    def nudge(self) -> None:
        """Try now instead of at the end of the wait; or find out whether the connection is alive."""
        self._nudged.set()
        self.send({"type": "ping"})

    def _choose(self, urls: list[str]) -> str:
        others = [url for url in urls if url != self._last] or urls
        if not self._last or self._is_elsewhere or self._last not in urls:
            self._last = others[int(self._uses.chance() * len(others)) % len(others)]
        self._is_elsewhere = False
        return self._last

    async def _once(self, url: str, token: str) -> End:
        """One connection from its beginning to its end."""
        self._greeted_at, self._kicked_for, self._outgoing = None, "", asyncio.Queue()
        more: dict[str, Any] = {"ssl": self._uses.ssl} if self._uses.ssl else {}
        try:
            socket = await connect(
                f"{url}?{urlencode(self._uses.query())}",
                additional_headers={"Authorization": f"Bearer {token}"},
                compression=None, open_timeout=_HELLO_S, close_timeout=_CLOSE_S,
                ping_interval=None, max_size=_LONGEST_BYTES, **more,
            )  # fmt: skip
        except InvalidStatus as error:
            after = error.response.headers.get("Retry-After", "")
            code = close_codes.of_status(error.response.status_code)
            return End(code, token=token, retry_after_s=float(after) if after.isdecimal() else 0)
        except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError):
            return End(close_codes.NOT_CLOSED, token=token)
        writing = asyncio.create_task(self._write(socket, self._outgoing))
        try:
            await self._read(socket)
            code = socket.close_code or close_codes.NOT_CLOSED
            return End(code, socket.close_reason or "", token, self._kicked_for)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await self._leave(socket)

    async def _leave(self, socket: ClientConnection) -> None:
        """Also where a gateway that is gone takes nothing any more: websockets waits until it does
        before its own close_timeout begins."""
        try:
            await within(_CLOSE_S, socket.close())
        except TimeoutError:
            socket.transport.abort()

    async def _read(self, socket: ClientConnection) -> None:
        """Until it has ended, or the gateway says nothing any more."""
        while (text := await self._next(socket)) is not None:
            frame = json.loads(text)
            if frame["type"] == "hello":
                self._greeted_at = time.monotonic()
                self._heartbeat_s = frame.get("heartbeat_ms", 0) / 1000 or _HEARTBEAT_S
                self._is(State.ONLINE)
            elif frame["type"] == "kick":
                self._kicked_for = frame.get("reason") or "kicked"
            if frame["type"] != "pong":
                await self._uses.on_frame(frame)

    async def _next(self, socket: ClientConnection) -> str | bytes | None:
        try:
            if self._greeted_at is None:
                return await within(_HELLO_S, socket.recv())
            try:
                return await within(self._heartbeat_s, socket.recv())
            except TimeoutError:
                self.send({"type": "ping"})
                return await within(_PONG_S, socket.recv())
        except (ConnectionClosed, TimeoutError):
            return None

    async def _write(self, socket: ClientConnection, outgoing: asyncio.Queue[Frame]) -> None:
        """Apart from the reading, so that a gateway that reads slowly does not end both."""
        try:
            while True:
                await socket.send(json.dumps(await outgoing.get(), ensure_ascii=False))
        except ConnectionClosed:
            pass

    async def _goes_on_after(self, end: End) -> bool:
        """Waits as long as it must; not so when the session is over."""
        if self._greeted_at and time.monotonic() - self._greeted_at > _PROVEN_S:
            self._attempt = 0
        following = after_close(
            end.code, self._attempt, chance=self._uses.chance, reason=end.reason
        )
        self._attempt += 1
        self._is_elsewhere = following.elsewhere
        self._is(State.WAITING)
        wait_s = max(following.wait_s, end.retry_after_s)
        if following.action is Action.ENDED and end.kicked_for == close_codes.REPLACED:
            self._uses.on_replaced()
            wait_s = backoff_s(self._attempt, self._uses.chance)
        elif following.action is Action.ENDED:
            await self._uses.session.end(end.kicked_for or str(end.code))
            return False
        elif following.action is Action.REFRESH:
            try:
                await self._uses.session.renew(end.token)
            except ApiError:
                if self._uses.session.user_id is None:
                    return False
                wait_s = max(wait_s, backoff_s(self._attempt, self._uses.chance))
        await self._wait(wait_s)
        return True

    async def _wait(self, seconds: float) -> None:
        self._is(State.WAITING)
        self._nudged.clear()
        with contextlib.suppress(TimeoutError):
            await within(seconds, self._nudged.wait())

    def _is(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._uses.on_state(state)
