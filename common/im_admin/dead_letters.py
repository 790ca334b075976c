"""Records that could not be worked on, in the topic `im-chat-dlq`.

A letter stays there when it is put on its topic again; that it was is in the audit log, so that it is
not done twice unless somebody says so.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from im.bus.v1.event_pb2 import UserEvent
from im.chat.v1.record_pb2 import ChatRecord
from im_admin.audit import list_deeds
from im_admin.operator import OK, Operator
from im_admin.plain import Row
from im_common.bus import Record
from im_common.bus.topics import CHAT_TOPIC, DEAD_LETTER_TOPIC, EVENT_TOPIC
from im_common.errors import AppError, Code, invalid

ALL = "all"
_REPLAY = "dead-letters replay"
_OWN_HEADERS = "dlq-"
_LONGEST_TARGET = 200
# Of which it is known whether they were replayed.
_MOST_REPLAYED = 100_000


async def list_letters(operator: Operator, *, most: int = 50) -> list[Row]:
    """Oldest first: `letter` is how it is called, `at` when it was given up."""
    replayed = await _replayed(operator)
    letters: list[Row] = []
    async with aclosing(_browse(operator)) as records:
        async for record in records:
            if len(letters) == most:
                break
            letters.append(_summary(record) | {"replayed": _mark(record) in replayed})
    return letters


async def show_letters(operator: Operator, names: Sequence[str]) -> list[Row]:
    """All that can be said of each, or of `all`. What people wrote is in it, so that it is shown is
    noted before."""
    records = await _named(operator, names)
    shown = ALL if ALL in names else " ".join(map(_mark, records))
    async with operator.deed("dead-letters show", f"dead letter {shown[:_LONGEST_TARGET]}"):
        return [_description(record) for record in records]


async def replay_letters(
    operator: Operator, names: Sequence[str], *, again: bool = False
) -> list[Row]:
    """Puts letters on their topics again. Of `all`, those that were replayed before are left out;
    ``again`` takes them, too. A message that was stored after all keeps its place.

    Raises:
        AppError: NOT_FOUND; FAILED_PRECONDITION when one was replayed before: nothing is done then.
    """
    records = await _named(operator, names)
    replayed = set() if again else await _replayed(operator)
    if list(names) == [ALL]:
        records = [record for record in records if _mark(record) not in replayed]
    done = sorted(_name(record) for record in records if _mark(record) in replayed)
    if done:
        raise AppError(
            Code.FAILED_PRECONDITION, f"LETTER {', '.join(done)}: replayed before; --again does it"
        )
    producer = await operator.ways.producer()
    for record in records:
        async with operator.deed(_REPLAY, f"dead letter {_mark(record)}"):
            await producer.send(_topic(record), record.key, record.value, original_headers(record))
    return [{"letter": _name(record), "topic": _topic(record)} for record in records]


def original_headers(record: Record) -> dict[str, bytes]:
    """Without those that say why it is a dead letter."""
    return {
        name: value for name, value in record.headers.items() if not name.startswith(_OWN_HEADERS)
    }


def _browse(operator: Operator) -> AsyncGenerator[Record, None]:
    return operator.resources.bus(operator.settings.bus).browse(DEAD_LETTER_TOPIC)


async def _named(operator: Operator, names: Sequence[str]) -> list[Record]:
    """NOT_FOUND when one is not there."""
    if not names:
        raise invalid("LETTER", f"must be named, as list does, or {ALL}")
    wanted = set(names)
    async with aclosing(_browse(operator)) as records:
        found = [one async for one in records if ALL in wanted or _name(one) in wanted]
    missing = wanted - {ALL} - {_name(record) for record in found}
    if missing:
        raise AppError(Code.NOT_FOUND, f"LETTER {', '.join(sorted(missing))}: not there")
    return found


async def _replayed(operator: Operator) -> set[str]:
    """By their marks."""
    deeds = await list_deeds(operator, action=_REPLAY, most=_MOST_REPLAYED)
    return {deed["target"].rpartition(" ")[2] for deed in deeds if deed["outcome"] == OK}


def _name(record: Record) -> str:
    return f"{record.partition}/{record.position}"


def _mark(record: Record) -> str:
    """Its name and when it was given up: a log that was made anew gives names again."""
    return f"{_name(record)}@{_header(record, 'dlq-at')}"


def _topic(record: Record) -> str:
    return _header(record, "dlq-topic") or CHAT_TOPIC


def _summary(record: Record) -> Row:
    return {
        "letter": _name(record),
        "at": int(_header(record, "dlq-at") or 0),
        "topic": _topic(record),
        "key": _text(record.key),
        "reason": _header(record, "dlq-reason"),
    }


def _description(record: Record) -> Row:
    headers = {name: _text(value) for name, value in sorted(record.headers.items())}
    return _summary(record) | {"headers": headers} | _content(record)


def _content(record: Record) -> Row:
    """What it says; its bytes when it says nothing."""
    try:
        kind = UserEvent if _topic(record) == EVENT_TOPIC else ChatRecord
        return {"record": str(kind.FromString(record.value)).rstrip()}
    except Exception:  # protobuf raises its own DecodeError, and others
        return {"bytes": record.value.hex()}


def _header(record: Record, name: str) -> str:
    return _text(record.headers.get(name, b""))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
