"""The records of im-event-topic: what is told to a user's devices beside messages.

Nothing is stored here: who wrote the record has done that. A batch is delivered as one of messages is.

A relay that is not told that the log has a record writes it again (sql.outbox_relay). A device
that has come since does not know the first one, and would be sent the second after younger events: so
what is in the log a second time goes to nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
import structlog
from cachetools import FIFOCache
from msgspec import Raw

from chat_service.mq import traces
from chat_service.mq.deliver import Deliverer
from chat_service.mq.entry import Entry, Poison
from im.bus.v1.event_pb2 import UserEvent
from im_common.bus import Committed, Finish, Producer, Record, at_once, dead_letter
from im_common.bus.topics import DEAD_LETTER_TOPIC
from im_common.domain import frames

log = structlog.get_logger(__name__)

# Of so many events it is remembered where in the log they were first: more than a relay sends again,
# beside what all others send meanwhile.
MOST_REMEMBERED = 20_000


class EventEntry(Entry):
    __slots__ = ("event",)

    def __init__(self, record: Record, event: UserEvent) -> None:
        # What it has an order in: the records of a partition, which are all that a user gets.
        super().__init__(record, f"events:{record.partition}", 0, event.timestamp)
        self.event = event
        self.seq = _number(record.position)
        self.members = (event.user_id,)
        self.event_id = event.event_id
        self.left_out_sessions = event.except_session_ids
        self.to_deliver = True

    def answer(self) -> bytes:
        raise NotImplementedError("nobody waits for it")

    def frame(self, *, for_author: bool) -> bytes:
        event = self.event
        return frames.encode(
            frames.Event(
                event_id=event.event_id,
                event=event.event,
                data=Raw(event.data_json.encode()),
                timestamp=event.timestamp,
            )
        )


class EventWorker:
    def __init__(self, deliverer: Deliverer, producer: Producer) -> None:
        self._deliverer = deliverer
        self._producer = producer
        # By event_id, its place in the log.
        self._places: FIFOCache[str, int] = FIFOCache(MOST_REMEMBERED)

    async def handle(self, records: Sequence[Record]) -> Finish:
        """Gives the delivery of the batch."""
        entries: list[EventEntry] = []
        for record in records:
            try:
                entry = decode(record)
                if self._is_first(entry):
                    entries.append(entry)
            except Poison as poison:
                log.error("dead letter", reason=str(poison), at=record.position)
                await dead_letter(self._producer, DEAD_LETTER_TOPIC, record, str(poison))
        return traces.delivered(entries, partial(self._deliver, entries))

    async def _deliver(self, entries: Sequence[EventEntry]) -> Committed:
        """It is committed at once: what is repeated after a crash a device may hear after younger ones,
        as nothing says to it which are older."""
        await self._deliverer.deliver(entries)
        return at_once

    def _is_first(self, entry: EventEntry) -> bool:
        """Whether the log had it nowhere before. It may come again at its own place: batches are
        repeated when nobody knows what became of them."""
        return self._places.setdefault(entry.event_id, entry.seq) == entry.seq


def decode(record: Record) -> EventEntry:
    """Raises Poison."""
    try:
        event = UserEvent.FromString(record.value)
        data = msgspec.json.decode(event.data_json)
    except Exception as error:  # protobuf raises its own DecodeError, and others
        raise Poison(f"cannot be decoded: {error}") from None
    if not event.event_id or not event.event or event.user_id <= 0:
        raise Poison("event_id, event or user_id is missing")
    if not isinstance(data, dict):
        raise Poison("data is no object")
    return EventEntry(record, event)


def _number(position: str) -> int:
    """A place in a partition as a number that grows: an offset, or the id of a stream's entry, which
    has milliseconds and a count."""
    first, _, count = position.partition("-")
    return (int(first) << 20) + int(count) if count else int(first) + 1
