"""What the two processes tell each other, and where their servers are."""

from __future__ import annotations

import msgspec

from im_local.infra_file import Infra

HOST = "127.0.0.1"
METHOD = "/im.bench.Bare/Push"
PARTITIONS = 3


class Servers(msgspec.Struct, frozen=True):
    # Of the topic and the schema.
    name: str
    # Of the system: SQLite has its file there.
    data: str
    redis: str
    # None for Redis Streams and SQLite.
    infra: Infra | None


class Record(msgspec.Struct, array_like=True, gc=False):
    """A message on the log."""

    token: int
    message_id: str
    conversation_id: str
    sender_id: int
    to: int
    client_msg_id: str
    content: str
    # Unix milliseconds.
    timestamp: int


class Push(msgspec.Struct, array_like=True, gc=False):
    """A frame for who waits for an answer, by a token, or for a user."""

    answers: list[tuple[int, bytes]]
    frames: list[tuple[int, bytes]]
