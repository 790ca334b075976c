"""What a device has missed: the offline list, sent a batch at a time, each taken away when confirmed,
and then the recalls that happened while it was away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw
from uuid_utils import uuid4

from im_common.domain.frames import Offline, encode
from im_common.domain.ids import now_ms
from im_common.domain.offline import MOST_FRAMES, OfflineList
from im_common.domain.recalls import RecallLog
from im_common.runtime import tasks
from im_common.runtime.faults import report

if TYPE_CHECKING:
    from ws_gateway.logic.connection import Connection

# A client that confirms nothing gets its live messages after this time all the same: nothing is to wait
# longer for who is online.
HOLD_S = 1.0
RETRY_S = 0.5


class _Place(msgspec.Struct, frozen=True):
    """What of a frame says which message or event it is."""

    type: str = ""
    conversation_id: str = ""
    seq: int = 0
    event_id: str = ""

    @property
    def is_message(self) -> bool:
        return self.type == "message" and bool(self.conversation_id and self.seq)

    @property
    def is_event(self) -> bool:
        return self.type == "event" and bool(self.event_id)


_places = msgspec.json.Decoder(_Place)


async def _nothing_is_missing() -> None: ...


class Backlog:
    """A connection's, and the one owner of what it is sent out of the list. ``run`` lasts as long as
    the connection; while there is something in the list, live messages are held."""

    def __init__(
        self,
        connection: Connection,
        offline: OfflineList,
        recalls: RecallLog,
        others: Callable[[], Iterable[Connection]] = tuple,
        end_missing: Callable[[], Awaitable[None]] = _nothing_is_missing,
    ) -> None:
        """``others`` are the user's other connections here, whose list it is, too; ``end_missing`` ends
        those that something is missing on, and raises when Redis is away."""
        self._connection = connection
        self._offline = offline
        self._recalls = recalls
        self._others = others
        self._end_missing = end_missing
        # Sent out of the list before the missed recalls, which may be among them.
        self._sent: set[bytes] = set()
        self._is_wanted = self._is_closed = False
        # Whether what it missed is asked for together with what others did.
        self._is_expected = False
        # Only while it looks: nearly all rest.
        self._looking: asyncio.Task[None] | None = None
        # Sent ahead of their batches, in which they come again.
        self._ahead: set[_Place | bytes] = set()
        # Of the batch that was sent last.
        self._batch_id = ""
        self._confirmed: asyncio.Future[None] | None = None

    @property
    def device(self) -> tuple[int, str]:
        """Whose it is: the user and the device."""
        return self._connection.user_id, self._connection.route.device_id

    def look(self) -> None:
        """Looks at the list, now or as soon as the batch in hand is confirmed. One that is not open yet
        looks when it is."""
        if self._connection.opened_at is None or self._is_closed:
            return
        self._is_wanted = True
        if self._looking is None and not self._is_expected:
            # At once: a message that arrives from now on is younger than what is in the list.
            self._connection.hold()
            self._looking = asyncio.create_task(self._look(), name="backlog")

    def expect(self) -> None:
        """The first look is made for it: it is told what was ``found``, or to ``look_itself``."""
        self._is_expected = True
        self._connection.hold()

    def found(self, recalls: Iterable[bytes]) -> None:
        """The list is empty, and these recalls were missed."""
        self._is_expected = False
        if self._is_wanted:
            self.look()
        elif not self._is_closed:
            self._send_all(recalls)
            self._connection.release()

    def look_itself(self) -> None:
        """There is something in the list, or nobody knows."""
        self._is_expected = False
        self.look()

    def confirm(self, batch_id: str) -> None:
        if batch_id == self._batch_id and self._confirmed and not self._confirmed.done():
            self._confirmed.set_result(None)

    async def close(self) -> None:
        """It looks no more."""
        self._is_closed = True
        await tasks.end(self._looking)

    async def _look(self) -> None:
        while self._is_wanted:
            self._is_wanted = False
            try:
                while await self._send_batch():
                    pass
                await self._send_recalls()
            except Exception as error:
                # When Redis is away: the list is there when it is back.
                report(error, "what was missed cannot be sent")
                self._is_wanted = True
                await asyncio.sleep(RETRY_S)
        self._looking = None
        self._connection.release()

    async def _send_batch(self) -> bool:
        before = {other: other.live_events for other in self._others() if other.is_open}
        frames, remaining = await self._offline.head(self._connection.user_id)
        if not frames:
            self._ahead.clear()
            return False
        distinct = await self._distinct(frames, before)
        if self._connection.ending is not None:
            # In the list it waits for who comes next.
            return False
        if not distinct:
            await self._offline.confirm(self._connection.user_id, frames)
            return True
        self._batch_id = str(uuid4())
        self._confirmed = asyncio.get_running_loop().create_future()
        batch = Offline(
            batch_id=self._batch_id, frames=[Raw(frame) for frame in distinct], remaining=remaining
        )
        self._connection.send(encode(batch))
        if not self._connection.caught_up_at:
            self._sent.update(distinct)
        await self._wait_until(self._confirmed, batch)
        self._confirmed = None
        await self._offline.confirm(self._connection.user_id, frames)
        return True

    async def _distinct(
        self, frames: Iterable[bytes], before: Mapping[Connection, int]
    ) -> list[bytes]:
        """Those that are to go out, as they are now."""
        # What is in the list may be younger than what somebody misses.
        await self._end_missing()
        # Twice in the list, or sent live already: the consumer repeated a delivery.
        shown = await self._recalls.emptied(self._connection.user_id, list(dict.fromkeys(frames)))
        if self._connection.ending is not None:
            return []
        return self._take(in_order(shown), before)

    def _take(
        self, frames: Iterable[tuple[bytes, _Place | None]], before: Mapping[Connection, int]
    ) -> list[bytes]:
        """Those that go out here. The user's other devices are sent them as well: who confirms first
        takes them out of the list of all. One that has had no `hello` yet looks at the list itself.

        ``before`` says how many live events they had been sent when the list was asked for. One that
        was sent another since then has had all that is in the list, or came when that was taken."""
        taken: list[bytes] = []
        others = [other for other in self._others() if other.is_open]
        for frame, place in frames:
            if place is None:
                taken.append(frame)
                continue
            if place.is_event:
                if place in self._ahead or self._connection.sees_event(place.event_id):
                    taken.append(frame)
                for other in others:
                    if before.get(other) == other.live_events:
                        other.take_listed_event(frame, place.event_id)
                continue
            if place in self._ahead or self._connection.sees(place.conversation_id, place.seq):
                taken.append(frame)
            for other in others:
                other.take_listed(frame, place.conversation_id, place.seq)
        return taken

    async def _send_recalls(self) -> None:
        connection = self._connection
        if not connection.caught_up_at:
            device_id = connection.route.device_id
            self._send_all(await self._recalls.missed(connection.user_id, device_id))

    def _send_all(self, recalls: Iterable[bytes]) -> None:
        connection = self._connection
        for frame in recalls:
            if frame not in self._sent:
                connection.send(frame)
        connection.caught_up_at = now_ms()
        self._sent.clear()

    async def _wait_until(self, confirmed: asyncio.Future[None], batch: Offline) -> None:
        await asyncio.wait([confirmed], timeout=HOLD_S)
        if batch.remaining and not confirmed.done():
            held = self._connection.holds_something()
            await asyncio.wait([confirmed, held], return_when=asyncio.FIRST_COMPLETED)
            if not confirmed.done():
                await self._send_ahead({bytes(frame) for frame in batch.frames})
        if not confirmed.done():
            self._connection.release()
            await confirmed
            self._connection.hold()

    async def _send_ahead(self, in_hand: set[bytes]) -> None:
        """What waits behind the batch is older than the live messages that are held, and goes out
        before them. It stays in the list, and comes again in its batch."""
        connection = self._connection
        try:
            before = {other: other.live_events for other in self._others() if other.is_open}
            rest = await self._offline.oldest(connection.user_id, MOST_FRAMES)
            frames = await self._distinct(rest, before)
        except Exception as error:
            report(error, "what waits behind a batch cannot be sent")
            return
        # What is neither message nor event is known by itself.
        keys = {frame: place_of(frame) or frame for frame in frames if frame not in in_hand}
        new = [frame for frame, key in keys.items() if key not in self._ahead]
        self._ahead.update(keys.values())
        if not connection.caught_up_at:
            self._sent.update(new)
        await connection.send_many(new)


async def look_at_all(
    backlogs: Sequence[Backlog], offline: OfflineList, recalls: RecallLog
) -> None:
    """The first look, which these expect: two commands for all of them together, as
    nearly all have missed nothing. Never raises."""
    devices = [backlog.device for backlog in backlogs]
    try:
        waiting = await offline.waiting([user_id for user_id, _ in devices])
        missed = await recalls.missed_by(devices)
    except Exception as error:
        report(error, "what newcomers missed is not known")
        for backlog in backlogs:
            backlog.look_itself()
        return
    have_list = set(waiting)
    for backlog, (user_id, _), frames in zip(backlogs, devices, missed, strict=True):
        if user_id in have_list:
            backlog.look_itself()
        else:
            backlog.found(frames)


def in_order(frames: Iterable[bytes]) -> list[tuple[bytes, _Place | None]]:
    """Frames with their places, the messages of each conversation by `seq`: what a gateway could not
    send any more comes into the list after younger ones."""
    placed = [(frame, place_of(frame)) for frame in frames]
    sorted_: dict[str, list[tuple[bytes, _Place | None]]] = {}
    for item in placed:
        if item[1] is not None and item[1].is_message:
            sorted_.setdefault(item[1].conversation_id, []).append(item)
    queues = {key: iter(sorted(items, key=_seq)) for key, items in sorted_.items()}
    return [
        next(queues[item[1].conversation_id]) if item[1] and item[1].is_message else item
        for item in placed
    ]


def _seq(item: tuple[bytes, _Place | None]) -> int:
    return item[1].seq if item[1] is not None else 0


def place_of(frame: bytes) -> _Place | None:
    """None for what is neither a message nor an event."""
    try:
        place = _places.decode(frame)
    except msgspec.DecodeError:
        return None
    return place if place.is_message or place.is_event else None
