"""What an operator does with records that could not be worked on."""

from __future__ import annotations

import asyncio
import datetime
import sys
from collections.abc import Collection
from contextlib import AsyncExitStack, aclosing

from chat_service.mq.config import Settings
from im.bus.v1.event_pb2 import UserEvent
from im.chat.v1.record_pb2 import ChatRecord
from im_common.bus import BusUnavailable, Record
from im_common.bus.topics import CHAT_TOPIC, DEAD_LETTER_TOPIC, EVENT_TOPIC
from im_common.runtime import log as logs
from im_common.runtime.config import LogConf
from im_common.runtime.dev_server import DevServer
from im_common.runtime.resources import Resources

ALL = "all"
_OWN_HEADERS = "dlq-"


def run_command(settings: Settings, what: str, positions: Collection[str]) -> int:
    """`dead-letters list | show | replay`; returns the exit code."""
    logs.configure(settings.name, LogConf(level="error", encoding="plain"))
    if what != "list" and not positions:
        return _fail(f"dead-letters {what}: name positions (see list), or {ALL}")
    try:
        found = asyncio.run(_run(settings, what, positions))
    except (BusUnavailable, OSError) as error:
        return _fail(f"the log is away: {error}")
    missing = set(positions).difference(found, {ALL})
    return _fail(f"not there: {', '.join(sorted(missing))}") if missing else 0


async def _run(settings: Settings, what: str, positions: Collection[str]) -> set[str]:
    """The positions that were there, of those that were asked for."""
    found: set[str] = set()
    async with AsyncExitStack() as stack:
        resources = Resources(settings, DevServer(settings.dev_server, settings.name), stack)
        producer = await resources.producer(settings.bus) if what == "replay" else None
        records = resources.bus(settings.bus).browse(DEAD_LETTER_TOPIC)
        async for record in await stack.enter_async_context(aclosing(records)):
            if what != "list" and not {record.position, ALL} & set(positions):
                continue
            found.add(record.position)
            if producer is not None:
                # A message that was stored after all finds its place: no second one is made.
                topic = record.headers.get("dlq-topic", CHAT_TOPIC.encode()).decode()
                await producer.send(topic, record.key, record.value, original_headers(record))
            _print({"list": summary, "show": description, "replay": replayed}[what](record))
    return found


def original_headers(record: Record) -> dict[str, bytes]:
    """Without those that say why it is a dead letter."""
    return {
        name: value for name, value in record.headers.items() if not name.startswith(_OWN_HEADERS)
    }


def summary(record: Record) -> str:
    """One line."""
    at = int(record.headers.get("dlq-at", b"0")) / 1000
    when = datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="seconds")
    return f"{record.position}  {when}  {_text(record.key)}  {_header(record, 'dlq-reason')}"


def description(record: Record) -> str:
    """All that can be said of it."""
    lines = [f"position: {record.position}", f"key: {_text(record.key)}"]
    lines += [f"{name}: {_text(value)}" for name, value in sorted(record.headers.items())]
    try:
        kind = UserEvent if _header(record, "dlq-topic") == EVENT_TOPIC else ChatRecord
        lines += ["record:", str(kind.FromString(record.value)).rstrip()]
    except Exception:  # protobuf raises its own DecodeError, and others
        lines.append(f"value ({len(record.value)} bytes): {record.value.hex()}")
    return "\n".join(lines) + "\n"


def replayed(record: Record) -> str:
    """One line."""
    return f"{record.position}  replayed to {_header(record, 'dlq-topic')}"


def _header(record: Record, name: str) -> str:
    return _text(record.headers.get(name, b""))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _print(text: str) -> None:
    print(text)  # noqa: T201


def _fail(problem: str) -> int:
    print(f"chat-mq: {problem}", file=sys.stderr)  # noqa: T201
    return 1
