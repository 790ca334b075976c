"""The records of a batch on their way, and what each kind of record does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from im.chat.v1 import record_pb2 as pb
from im_common.bus import Record
from im_common.errors import AppError

if TYPE_CHECKING:
    from chat_service.mq.policy import Facts


class Poison(Exception):
    """A record that can never be worked on, and why."""


# Sender and receiver.
Pair = tuple[int, int]


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where somebody waits for the answer, as records have it."""

    # host:port of a PushService; empty for nobody.
    address: str
    token: int
    # The sender's connection there; 0 for none.
    connection_id: int

    @classmethod
    def of(cls, origin: pb.Origin) -> Origin:
        return cls(origin.address, origin.token, origin.connection_id)


NOBODY = Origin("", 0, 0)


class Entry:
    """A record, and what became of it. All that consumer and delivery know of it: plain values, as each
    is looked at many times on the way."""

    __slots__ = (
        "author_id",
        "conversation_id",
        "error",
        "event_id",
        "group_id",
        "is_kept_for_devices",
        "left_out",
        "left_out_sessions",
        "members",
        "moved_user_ids",
        "origin",
        "pair",
        "record",
        "roster_seq",
        "seq",
        "timestamp",
        "to_deliver",
        "traceparent",
    )

    def __init__(
        self,
        record: Record,
        conversation_id: str,
        author_id: int,
        timestamp: int,
        origin: Origin = NOBODY,
    ) -> None:
        """``author_id`` is who did it, 0 for nobody; ``timestamp`` Unix milliseconds, by the clock of
        the origin."""
        self.record = record
        self.conversation_id = conversation_id
        self.author_id = author_id
        self.timestamp = timestamp
        self.origin = origin
        # The two users of whom it depends on what one lets the other do.
        self.pair: Pair | None = None
        # The group that it is about; None when it is about users.
        self.group_id: int | None = None
        # The users that it concerns; nobody when it is about a group, whose members get it.
        self.members: Sequence[int] = ()
        # The connection that gets no copy of the frame, and the sessions whose connections get none.
        self.left_out = NOBODY
        self.left_out_sessions: Sequence[str] = ()
        # By which a connection knows an event that was put into the log twice; else empty.
        self.event_id = ""
        # Whether its frame is kept for the devices that are away of users who are here.
        self.is_kept_for_devices = False
        # Who becomes a member of the group with it, or is one no more.
        self.moved_user_ids: Sequence[int] = ()
        # The span of its delivery; empty when its trace is not recorded.
        self.traceparent = ""

        # What became of it. Why it was not done:
        self.error: AppError | None = None
        # Whether the members get it: also when the record comes a second time, as it may not have
        # been delivered before a crash.
        self.to_deliver = False
        # By which a connection knows that it has had the frame; 0 when it may come twice.
        self.seq = 0
        # The last change of the group's members that counts for it; None when that is not known.
        self.roster_seq: int | None = None

    @property
    def asked_user_ids(self) -> Sequence[int]:
        """Those of whom it must be known what they are in the group."""
        return (self.author_id,)

    def answer(self) -> bytes:
        """The frame for who waits at the origin."""
        raise NotImplementedError

    def frame(self, *, for_author: bool) -> bytes:
        """What the members get; its author's devices may get more."""
        raise NotImplementedError


class Kind(Protocol):
    """What goes through the log under one name of ``ChatRecord.body``."""

    def decode(self, record: Record, parsed: pb.ChatRecord) -> Entry:
        """Raises Poison."""

    async def apply(self, entries: Sequence[Entry], facts: Facts) -> None:
        """Works on those of the batch's entries that are of this kind, and sets their outcomes. Safe to
        repeat; an exception means that nothing is known."""
