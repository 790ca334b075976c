"""The client: one object for an account on a device, put together from the parts beside it."""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from im_client.close_codes import backoff_s
from im_client.connection import Connection, State, Uses
from im_client.conversation import Conversation
from im_client.errors import ApiError, SessionEnded, logged_out
from im_client.events import EventIds
from im_client.http import Http
from im_client.inbox import Inbox
from im_client.kept import Kept
from im_client.messages import ContentType, Message, Pending
from im_client.outbox import Outbox
from im_client.parts import (
    Frame,
    Tasks,
    group_conversation,
    log,
    random_id,
    target_of,
    user_conversation,
)  # fmt: skip
from im_client.session import Session, call
from im_client.signals import LoggedIn, Signals
from im_client.storage import MemoryStorage, Storage

Platform = Literal["ios", "android", "web", "desktop", "other"]
_CONTENT_BYTES = 16 * 1024
_TIMEOUT_S = 15.0


class ImClient:
    """``async with ImClient(api, storage=…) as client`` goes on with the session that is stored, if
    there is one, and leaves all as it is at the end."""

    def __init__(
        self,
        api: str,
        *,
        ws: str | Sequence[str] | None = None,
        storage: Storage | None = None,
        platform: Platform = "other",
        ssl: tls.SSLContext | None = None,
    ) -> None:
        """``api``: its address, as `https://chat.example`. ``ws``: those of the gateways; asked of it
        when missing. ``storage`` belongs to the client, which closes it; without one all is kept in
        memory. ``ssl`` is for a certificate authority of one's own."""
        self.on = Signals()
        self._storage = storage or MemoryStorage()
        self._platform = platform
        self._ssl = ssl
        self._client = httpx.AsyncClient(base_url=api, timeout=_TIMEOUT_S, verify=ssl or True)
        self._session = Session(self._client, self._storage, platform)
        self._session.on_end = self._ended
        self.http = Http(self._client, self._session)
        self._urls = [ws] if isinstance(ws, str) else list(ws or ())
        self._tasks = Tasks(self._failed)
        self._events = EventIds()
        self._connection: Connection | None = None
        self._device_id = ""
        self._inbox: Inbox | None = None
        self._outbox: Outbox | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> int | None:
        """Goes on with the session that is stored; gives whose it is. Needs no network.

        Raises:
            StorageInUse: Another client has the file.
        """
        if await self._session.load():
            await self._start()
        return self.user_id

    async def close(self) -> None:
        """What was sent and is not answered stays in the storage, for the next client on it."""
        await self._stop()
        await self._session.close()
        await self._client.aclose()
        await self._storage.close()

    @property
    def user_id(self) -> int | None:
        return self._session.user_id

    @property
    def session_id(self) -> str | None:
        return self._session.session_id

    @property
    def state(self) -> State:
        return self._connection.state if self._connection else State.OFF

    @property
    def conversations(self) -> Mapping[str, Conversation]:
        return self._inbox.conversations if self._inbox else {}

    # --- accounts

    async def register(self, username: str, password: str, **more: str) -> int:
        """``more``: `nickname`, `email`. Gives the user id; what comes from now on is shown. Raises
        ApiError."""
        return await self._log_in(
            "/v1/auth/register", {"username": username, "password": password, **more}
        )

    async def login(self, username: str, password: str) -> int:
        """Gives the user id; on a device's first start, what comes from now on is shown. Raises
        ApiError."""
        return await self._log_in("/v1/auth/login", {"username": username, "password": password})

    async def _log_in(self, path: str, body: dict[str, Any]) -> int:
        await self._stop()
        await self._session.begin(path, body)
        await self._start(is_new=True)
        return self._me

    async def logout(self) -> None:
        """What was not sent stays for the next log-in."""
        await self._session.logout()
        await self._stop()

    def nudge(self) -> None:
        """The network is back: do not wait for the next attempt to connect."""
        if self._connection:
            self._connection.nudge()

    # --- messages

    def conversation_with(self, user_id: int) -> str:
        return user_conversation(self._me, user_id)

    def conversation_of(self, group_id: int) -> str:
        return group_conversation(group_id)

    def conversation(self, conversation_id: str) -> Conversation:
        return self._in.of(conversation_id)

    async def send(
        self,
        conversation_id: str,
        content: str,
        *,
        content_type: ContentType = "text",
        reply_to: str | None = None,
        mentions: Sequence[int | Literal["all"]] = (),
        ext: Mapping[str, Any] | None = None,
        client_msg_id: str | None = None,
    ) -> Pending:
        """When it returns the message is stored; it is sent as soon as can be, once, after what was
        sent to there before. ``client_msg_id`` is a name for it that is the same when this is done
        again after a crash (that of an answer is made of what it answers): it is one message then.

        Raises:
            ApiError: Nobody is logged in, or PAYLOAD_TOO_LARGE.
        """
        if len(content.encode()) > _CONTENT_BYTES:
            raise ApiError("PAYLOAD_TOO_LARGE", "the message is too long", field="content")
        frame: Frame = {**target_of(conversation_id, self._me), "content": content}
        given = {
            "content_type": content_type if content_type != "text" else None,
            "reply_to": reply_to,
            "mentions": list(mentions),
            "ext": dict(ext or {}),
        }
        frame |= {name: value for name, value in given.items() if value}
        return await self._out.add(conversation_id, frame, client_msg_id)

    async def messages(self) -> AsyncGenerator[Message]:
        """Each message that comes, the user's own included, in the order of its conversation.

        One is handled when the next one is asked for. What was not handled comes again after a restart;
        the first time it begins with what came since the client was opened.

        Raises:
            SessionEnded: Log in again.
        """
        unhandled = self._in.unhandled
        await unhandled.begin()
        while True:
            message = await unhandled.next()
            yield message
            await unhandled.done(message)

    @property
    def waiting(self) -> int:
        """How many messages have no answer yet, or were refused."""
        return self._outbox.size if self._outbox else 0

    def pending(self, conversation_id: str) -> list[Pending]:
        """What was sent to the conversation and has no place yet, oldest first."""
        return self._out.of(conversation_id)

    async def retry(self, entry: Pending) -> Pending:
        """Sends what was refused, as a new message."""
        return await self._out.retry(entry)

    async def discard(self, entry: Pending) -> bool:
        """Forgets a message, unless it may be on its way; says whether."""
        return await self._out.discard(entry)

    async def recall(self, message_id: str) -> None:
        await self.http.post(f"/v1/messages/{message_id}/recall")

    def typing(self, conversation_id: str) -> None:
        self._send({"type": "typing", **target_of(conversation_id, self._me)})

    async def open_conversation(self, conversation_id: str) -> Conversation:
        """Brings back what is kept of it."""
        return await self._in.open(conversation_id)

    async def older(self, conversation_id: str, limit: int = 50) -> int:
        """Asks for messages before the first one that is known; gives how many came."""
        return await self._in.older(conversation_id, limit)

    async def mark_read(self, conversation_id: str, seq: int) -> None:
        await self._in.mark_read(conversation_id, seq)

    async def set_draft(self, conversation_id: str, text: str) -> None:
        conversation = self._in.of(conversation_id)
        conversation.draft = text
        await self._in.keep(conversation)

    async def refresh(self) -> None:
        """Reads the list of conversations again."""
        await self._in.refresh()

    # --- inside

    @property
    def _me(self) -> int:
        if self.user_id is None:
            raise logged_out()
        return self.user_id

    @property
    def _in(self) -> Inbox:
        if self._inbox is None:
            raise logged_out()
        return self._inbox

    @property
    def _out(self) -> Outbox:
        if self._outbox is None:
            raise logged_out()
        return self._outbox

    async def _start(self, *, is_new: bool = False) -> None:
        """``is_new``: what comes from now on is shown, so the list is read before that."""
        prefix = f"u/{self._me}/"
        self._device_id = self._session.device_id
        self._outbox = Outbox(
            self._storage, f"{prefix}out/", send=self._send, on_change=self.on.conversation.emit
        )
        self._inbox = Inbox(
            Kept(self._storage, prefix), me=self._me, http=self.http, send=self._send,
            outbox=self._outbox, on=self.on, tasks=self._tasks,
        )  # fmt: skip
        await self._inbox.load()
        await self._outbox.load()
        self._connection = Connection(
            Uses(
                session=self._session, urls=self._gateways, query=self._query, ssl=self._ssl,
                on_frame=self._take, on_state=self._is, on_replaced=self._replaced,
            )
        )  # fmt: skip
        self.on.session.emit(LoggedIn(self._me))
        if is_new and not await self._inbox.has_begun():
            await self._look_at_list(self._inbox)
        self._tasks.spawn(self._run(self._connection, self._inbox))

    async def _run(self, connection: Connection, inbox: Inbox) -> None:
        """A device's first start begins with the list of conversations: without it `sync` gives all
        there ever was."""
        attempt = 0
        if await inbox.has_begun():
            self._tasks.spawn(self._look_at_list(inbox))
        while not await inbox.has_begun():
            try:
                await inbox.refresh()
            except ApiError:
                if self.user_id is None:
                    return
                await asyncio.sleep(backoff_s(attempt))
                attempt += 1
        await connection.run()

    async def _look_at_list(self, inbox: Inbox) -> None:
        try:
            await inbox.refresh()
        except ApiError as error:
            log.info("the list of conversations was not read: %s", error)

    async def _stop(self) -> None:
        inbox, outbox = self._inbox, self._outbox
        await self._tasks.close()
        self._connection = None
        if inbox and outbox:
            await inbox.close()
            outbox.close()
            inbox.unhandled.end(SessionEnded("closed"))

    def _ended(self, reason: str) -> None:
        error = SessionEnded(reason)
        self._quit(error)
        self.on.session.emit(error)

    def _failed(self, error: BaseException) -> None:
        """Something that nobody expected, such as a full disk: nothing is lost by a new start."""
        log.error("the client has ended", exc_info=error)
        self._quit(error)

    def _quit(self, error: BaseException) -> None:
        if self._inbox and self._outbox:
            self._inbox.unhandled.end(error)
            self._outbox.connected(False)
        # Called by one of them, perhaps.
        asyncio.get_running_loop().call_soon(self._tasks.cancel)

    async def _gateways(self) -> list[str]:
        if not self._urls:
            self._urls = list((await call(self._client, "GET", "/config.json")).json()["ws"])
        return self._urls

    def _query(self) -> dict[str, str]:
        return {"device_id": self._device_id, "platform": self._platform}

    def _replaced(self) -> None:
        self._device_id = f"{self._session.device_id}.{random_id()[:8]}"

    def _is(self, state: State) -> None:
        if self._inbox and self._outbox:
            self._outbox.connected(state is State.ONLINE)
            self._inbox.connected(state is State.ONLINE)
        self.on.state.emit(state)

    def _send(self, frame: Frame) -> bool:
        return self._connection is not None and self._connection.send(frame)

    async def _take(self, frame: Frame) -> None:
        match frame["type"]:
            case "offline":
                await self._in.take([one for one in frame["frames"] if self._events.is_new(one)])
                self._send({"type": "offline_ack", "batch_id": frame["batch_id"]})
            case "error":
                if not await self._out.refuse(frame):
                    self.on.error.emit(frame)
            case "typing":
                self.on.typing.emit(frame)
            case "presence":
                self.on.presence.emit(frame)
            case "hello":
                self.on.hello.emit(frame)
            case _ if self._events.is_new(frame):
                await self._in.take([frame])
