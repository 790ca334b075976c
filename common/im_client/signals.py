"""What a client tells of; ``client.on.message(listener)`` listens."""

from __future__ import annotations

from dataclasses import dataclass

from im_client.connection import State
from im_client.errors import SessionEnded
from im_client.messages import Message
from im_client.parts import Frame, Signal


@dataclass(frozen=True)
class LoggedIn:
    user_id: int


class Signals:
    def __init__(self) -> None:
        # Logged in, or no longer.
        self.session = Signal[LoggedIn | SessionEnded]()
        self.state = Signal[State]()
        # A new message of anybody, the user's own included: each once, in its conversation's order.
        self.message = Signal[Message]()
        # Something of the conversation with this id has changed: messages, what is pending, unread, how
        # far others are.
        self.conversation = Signal[str]()
        # The list of conversations was read from the server.
        self.conversations = Signal[None]()
        # Nothing that the server had when asked is missing here.
        self.synced = Signal[None]()
        # Frames: changes of friends, groups and sessions, each once; and what passes.
        self.event = Signal[Frame]()
        self.typing = Signal[Frame]()
        self.presence = Signal[Frame]()
        self.hello = Signal[Frame]()
        # An error that is about no message of the outbox.
        self.error = Signal[Frame]()
