"""One conversation as this client knows it: a stretch of messages without a hole, and its cursors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from im_client.messages import Message

# Of the last messages so many are kept, at least; twice as many at most.
KEPT = 200


@dataclass(frozen=True, slots=True)
class Cursors:
    """How far a member is. Who has read a message has received it."""

    delivered_seq: int = 0
    read_seq: int = 0


@dataclass
class Conversation:
    """Read it; to change it, use the client. What is below the first of ``messages`` is on the
    server."""

    id: str
    # In the order of `seq`; what is missing between two of them was deleted.
    messages: list[Message] = field(default_factory=list)
    # Everything up to here has been seen by this device, or is below what it began with.
    cursor: int = 0
    last_seq: int = 0
    read_seq: int = 0
    unread: int = 0
    last_message: Message | None = None
    # The oldest unread message that mentions the user.
    mentioned_seq: int | None = None
    pinned: bool = False
    muted: bool = False
    draft: str = ""
    # Of the others.
    cursors: dict[int, Cursors] = field(default_factory=dict)
    # Nothing is on the server below the first of `messages`.
    is_complete: bool = False
    # Read here, and not known to be told to the server.
    read_here: int = 0
    # Up to here the application has done with it (`ImClient.messages`).
    handled: int = 0
    is_loaded: bool = False
    # What came ahead of its turn, by seq, with the number of the `sync` that was on its way then.
    held: dict[int, tuple[Message, int]] = field(default_factory=dict)

    @property
    def is_group(self) -> bool:
        return self.id.startswith("g:")

    @property
    def next_seq(self) -> int:
        """What is before it is on the server, or nowhere."""
        return self.messages[0].seq if self.messages else self.cursor + 1

    def state_of(self, message: Message) -> Literal["sent", "delivered", "read"]:
        """Of an own message; in a group, of whoever is furthest."""
        known = self.cursors.values()
        if any(cursors.read_seq >= message.seq for cursors in known):
            return "read"
        if any(cursors.delivered_seq >= message.seq for cursors in known):
            return "delivered"
        return "sent"

    def to_stored(self) -> dict[str, Any]:
        stored = {name: getattr(self, name) for name in _STORED}
        last = self.last_message and self.last_message.to_stored()
        cursors = [[u, c.delivered_seq, c.read_seq] for u, c in self.cursors.items()]
        return {**stored, "last_message": last, "cursors": cursors}

    @classmethod
    def of(cls, conversation_id: str, stored: dict[str, Any]) -> Self:
        last, cursors = stored.pop("last_message"), stored.pop("cursors")
        return cls(
            conversation_id,
            **stored,
            last_message=Message.of(last) if last else None,
            cursors={user_id: Cursors(*rest) for user_id, *rest in cursors},
        )

    def append(self, message: Message, me: int) -> list[Message]:
        """The next one in order. Gives those that are no longer kept."""
        self.messages.append(message)
        self.cursor = message.seq
        self.last_seq = max(self.last_seq, message.seq)
        self.last_message = message
        if message.sender == me:
            self.read_up_to(message.seq, me)
        elif message.seq > self.read_seq:
            self.unread += not message.recalled
            if self.mentioned_seq is None and ({me, "all"} & set(message.mentions)):
                self.mentioned_seq = message.seq
            # Who writes has read what came before.
            self.heard_of(message.sender, message.seq, message.seq)
        if len(self.messages) <= 2 * KEPT:
            return []
        old, self.messages = self.messages[:-KEPT], self.messages[-KEPT:]
        self.is_complete = False
        return old

    def prepend(self, older: Iterable[Message]) -> None:
        first = self.next_seq
        self.messages[:0] = [message for message in older if message.seq < first]

    def heard_of(self, user_id: int, delivered: int, read: int) -> None:
        """A cursor of another member; it never moves back."""
        known = self.cursors.get(user_id, Cursors())
        self.cursors[user_id] = Cursors(
            max(known.delivered_seq, delivered, read), max(known.read_seq, read)
        )

    def read_up_to(self, seq: int, me: int) -> bool:
        """Whether that is news."""
        if seq <= self.read_seq:
            return False
        self.read_seq = seq
        left = self._unread_above(seq, me)
        self.unread = 0 if seq >= self.last_seq else min(self.unread, left or self.unread)
        if self.mentioned_seq is not None and self.mentioned_seq <= seq:
            self.mentioned_seq = None
        return True

    def counted(self, last_seq: int, read_seq: int, unread: int, *, me: int) -> None:
        """What the server has counted: what came since then is not in it."""
        self.last_seq = max(self.last_seq, last_seq)
        if read_seq >= self.read_seq:
            self.read_seq = read_seq
            self.unread = unread + self._unread_above(max(last_seq, read_seq), me)

    def _unread_above(self, seq: int, me: int) -> int:
        return sum(m.seq > seq and m.sender != me and not m.recalled for m in self.messages)

    def recall(self, message_id: str, seq: int) -> Message | None:
        """Empties what was taken back; gives it, if it is among the messages."""
        if self.last_message and self.last_message.seq == seq:
            self.last_message = self.last_message.emptied()
        if seq in self.held:
            message, number = self.held[seq]
            self.held[seq] = (message.emptied(), number)
        for at, message in enumerate(self.messages):
            if message.message_id == message_id:
                self.messages[at] = message.emptied()
                return self.messages[at]
        return None

    def skip_to(self, seq: int) -> None:
        """Begins anew there: what is below comes from the history when somebody looks."""
        self.messages = []
        self.cursor = seq
        self.last_seq = max(self.last_seq, seq)
        self.is_complete = False


_STORED = (
    "cursor", "last_seq", "read_seq", "unread", "mentioned_seq", "pinned", "muted", "draft",
    "read_here", "handled",
)  # fmt: skip
