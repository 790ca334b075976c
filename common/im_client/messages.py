"""A message that has its place, and one that has not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from im_client.errors import MessageRefused
from im_client.parts import Frame

ContentType = Literal["text", "image", "file", "audio", "video", "location", "custom"]


@dataclass(frozen=True, slots=True)
class Message:
    """As the server has it. ``seq`` is its place in the conversation: 1, 2, 3, …; ``sender`` a user id
    (`from` in frames); ``timestamp`` Unix milliseconds. One that was taken back is empty."""

    message_id: str
    conversation_id: str
    seq: int
    sender: int
    content: str
    timestamp: int
    content_type: str = "text"
    to: int | None = None
    group_id: int | None = None
    client_msg_id: str | None = None
    reply_to: str | None = None
    mentions: tuple[int | str, ...] = ()
    ext: dict[str, Any] = field(default_factory=dict)
    recalled: bool = False

    @classmethod
    def of(cls, frame: Frame) -> Self:
        """From a `message` frame, or an item of a history. What it does not know, it leaves out."""
        known = {name: frame[name] for name in _OPTIONAL if frame.get(name) is not None}
        return cls(
            message_id=frame["message_id"],
            conversation_id=frame["conversation_id"],
            seq=frame["seq"],
            sender=frame["from"],
            content=frame.get("content", ""),
            timestamp=frame["timestamp"],
            mentions=tuple(frame.get("mentions") or ()),
            ext=dict(frame.get("ext") or {}),
            **known,
        )

    def to_stored(self) -> Frame:
        """What `of` makes the same message of."""
        frame = {name: getattr(self, name) for name in _OPTIONAL}
        frame |= {name: getattr(self, name) for name in _REQUIRED}
        frame |= {"from": self.sender, "mentions": list(self.mentions), "ext": self.ext}
        return {name: value for name, value in frame.items() if value}

    def emptied(self) -> Self:
        return replace(self, content="", ext={}, mentions=(), recalled=True)


_REQUIRED = ("message_id", "conversation_id", "seq", "content", "timestamp")
_OPTIONAL = (
    "content_type", "to", "group_id", "client_msg_id", "reply_to", "recalled",
)  # fmt: skip


@dataclass(eq=False, slots=True)
class Pending:
    """What was sent by the user and has no place yet, or was refused (``error`` says why).

    ``frame`` is what goes out, without its type and client_msg_id.
    """

    key: str
    client_msg_id: str
    conversation_id: str
    frame: Frame
    created_at: int
    error: MessageRefused | None = None
    is_stored: bool = False
    _place: asyncio.Future[Message] = field(default_factory=lambda: _quiet_future())

    @property
    def state(self) -> Literal["sending", "failed"]:
        return "failed" if self.error else "sending"

    async def placed(self) -> Message:
        """Waits until it has its place, however long that takes.

        Raises:
            MessageRefused: It gets none.
        """
        return await asyncio.shield(self._place)

    def settle(self, message: Message) -> None:
        if not self._place.done():
            self._place.set_result(message)

    def refuse(self, error: MessageRefused) -> None:
        self.error = error
        if not self._place.done():
            self._place.set_exception(error)

    def to_stored(self) -> dict[str, Any]:
        stored: dict[str, Any] = {
            "client_msg_id": self.client_msg_id,
            "conversation_id": self.conversation_id,
            "frame": self.frame,
            "created_at": self.created_at,
        }
        if self.error:
            stored["error"] = [self.error.code, str(self.error), self.error.field]
        return stored

    @classmethod
    def of(cls, key: str, stored: dict[str, Any]) -> Self:
        error = stored.pop("error", None)
        pending = cls(key=key, **stored, is_stored=True)
        if error:
            code, text, name = error
            pending.refuse(MessageRefused(code, text, field=name))
        return pending


def _quiet_future() -> asyncio.Future[Message]:
    """One whose exception need not be asked for."""
    future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future
