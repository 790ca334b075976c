"""Ids and times."""

from __future__ import annotations

import time

from uuid_utils import uuid7

FIRST_ID = 1001


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def new_message_id() -> str:
    """UUIDv7, lower case: sorts by time."""
    return str(uuid7())


def single_conversation(a: int, b: int) -> str:
    """The conversation of two users, whoever writes first."""
    return f"s:{a}:{b}" if a < b else f"s:{b}:{a}"


def group_conversation(group_id: int) -> str:
    return f"g:{group_id}"


def parse_conversation(conversation_id: str) -> tuple[int, int] | int | None:
    """The two users of a single conversation, the group of a group's, or None when it is no id."""
    parts = conversation_id.split(":")
    if not all(part.isdecimal() and part.isascii() and part[0] != "0" for part in parts[1:]):
        return None
    if parts[0] == "g" and len(parts) == 2:
        return int(parts[1])
    if parts[0] == "s" and len(parts) == 3 and int(parts[1]) < int(parts[2]):
        return int(parts[1]), int(parts[2])
    return None
