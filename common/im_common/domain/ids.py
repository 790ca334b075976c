"""Ids and times."""

from __future__ import annotations

import time

from uuid_utils import uuid7

from im_common.errors import invalid

FIRST_ID = 1001
MAX_ID = 2**63 - 1
MAX_MESSAGE_ID = 36
# s:, two ids of 19 digits and a colon.
_LONGEST_CONVERSATION_ID = 41


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def new_message_id() -> str:
    """UUIDv7, lower case: sorts by time."""
    return str(uuid7())


def new_event_id() -> str:
    """UUIDv7, lower case."""
    return str(uuid7())


def may_be_message_id(text: str) -> bool:
    """Whether a message can have this id, as far as can be told without looking."""
    if not (1 <= len(text) <= MAX_MESSAGE_ID and text.isascii() and text.isprintable()):
        return False
    # To MySQL and MariaDB it would be the id without it.
    return text[-1] != " "


def check_id(field: str, value: int) -> int:
    """A user or group id as it is, or INVALID_ARGUMENT."""
    if not 1 <= value <= MAX_ID:
        raise invalid(field, "must be a positive 64-bit number")
    return value


def read_id(text: str) -> int | None:
    """A user's or group's id as JSON spells it; None when it is none (`01044`, `+1044`, `1_044`)."""
    if not text.isdecimal() or not text.isascii() or text[0] == "0" or len(text) > 19:
        return None
    value = int(text)
    return value if value <= MAX_ID else None


def single_conversation(a: int, b: int) -> str:
    """The conversation of two users, whoever writes first."""
    return f"s:{a}:{b}" if a < b else f"s:{b}:{a}"


def group_conversation(group_id: int) -> str:
    return f"g:{group_id}"


def parse_conversation(conversation_id: str) -> tuple[int, int] | int | None:
    """The two users of a single conversation, the group of a group's, or None when it is no id."""
    if len(conversation_id) > _LONGEST_CONVERSATION_ID:
        return None
    kind, *parts = conversation_id.split(":")
    if kind == "g" and len(parts) == 1:
        return read_id(parts[0])
    if kind != "s" or len(parts) != 2:
        return None
    lower, higher = read_id(parts[0]), read_id(parts[1])
    if lower is None or higher is None or lower >= higher:
        return None
    return lower, higher
