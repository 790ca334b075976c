"""The records of a batch on their way, and what each kind of record does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from im.chat.v1.record_pb2 import ChatRecord, Origin
from im_common.bus import Record
from im_common.errors import AppError

if TYPE_CHECKING:
    from chat_service.model.messages import Place
    from chat_service.mq.policy import Facts


class Poison(Exception):
    """A record that can never be worked on, and why."""


# Sender and receiver.
Pair = tuple[int, int]


@dataclass(slots=True, kw_only=True)
class Entry(ABC):
    """A record, and what became of it. All that consumer and delivery know of it."""

    record: Record
    origin: Origin = field(default_factory=Origin)
    # Why it was not done.
    error: AppError | None = None
    # The span of its delivery; empty when its trace is not recorded.
    traceparent: str = ""

    # --- what it is ------------------------------------------------------------------------------

    # Whether its frame is kept for the devices that are away of users who are here.
    is_kept_for_devices: ClassVar[bool] = False

    @property
    @abstractmethod
    def conversation_id(self) -> str: ...

    @property
    @abstractmethod
    def author_id(self) -> int:
        """Who did it; 0 for nobody."""

    @property
    @abstractmethod
    def timestamp(self) -> int:
        """Unix milliseconds, by the clock of the origin."""

    @property
    def pair(self) -> Pair | None:
        """The two users of whom it depends on what one lets the other do."""
        return None

    @property
    def group_id(self) -> int | None:
        """The group that it is about; None when it is about two users."""
        return None

    @property
    def asked_user_ids(self) -> Sequence[int]:
        """Those of whom it must be known what they are in the group."""
        return (self.author_id,)

    # --- what became of it -----------------------------------------------------------------------

    @property
    def members(self) -> Sequence[int]:
        """The users that it concerns; nobody when it is about a group, whose members get it."""
        return ()

    @property
    def roster_seq(self) -> int | None:
        """The last change of the group's members that counts for it; None when that is not known."""
        return None

    @property
    def moved_user_ids(self) -> Sequence[int]:
        """Who becomes a member of the group with it, or is one no more."""
        return ()

    @property
    def to_deliver(self) -> bool:
        """Whether the members get it: also when the record comes a second time, as it may not have
        been delivered before a crash."""
        return False

    @property
    def seq(self) -> int:
        """By which a connection knows that it has had the frame; 0 when it may come twice."""
        return 0

    @property
    def new_place(self) -> Place | None:
        """The place in its conversation that it made."""
        return None

    @property
    def left_out(self) -> Origin:
        """The connection that gets no copy of the frame."""
        return Origin()

    @property
    def event_id(self) -> str:
        """By which a connection knows an event that was put into the log twice; else empty."""
        return ""

    @property
    def left_out_sessions(self) -> Sequence[str]:
        """The sessions whose connections get no copy."""
        return ()

    @abstractmethod
    def answer(self) -> bytes:
        """The frame for who waits at the origin."""

    @abstractmethod
    def frame(self, *, for_author: bool) -> bytes:
        """What the members get; its author's devices may get more."""


class Kind(Protocol):
    """What goes through the log under one name of ``ChatRecord.body``."""

    def decode(self, record: Record, parsed: ChatRecord) -> Entry:
        """Raises Poison."""

    async def apply(self, entries: Sequence[Entry], facts: Facts) -> None:
        """Works on those of the batch's entries that are of this kind, and sets their outcomes. Safe to
        repeat; an exception means that nothing is known."""
