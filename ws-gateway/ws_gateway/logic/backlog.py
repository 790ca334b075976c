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
from im_common.domain.offline import OfflineList
from im_common.domain.recalls import RecallLog
from im_common.runtime import tasks
from im_common.runtime.faults import report

if TYPE_CHECKING:
    from ws_gateway.logic.connection import Connection

# A client that confirms nothing gets its live messages after this time all the same: nothing is to wait
# longer for who is online.
HOLD_S = 1.0
RETRY_S = 0.5


class _Place(msgspec.Struct):
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
        # By the id of a batch that was sent: done when it is confirmed.
        self._in_hand: dict[str, asyncio.Future[None]] = {}

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
        confirmed = self._in_hand.get(batch_id)
        if confirmed is not None and not confirmed.done():
            confirmed.set_result(None)

    def unconfirmed(self) -> list[asyncio.Future[None]]:
        """The batches in hand, oldest first: each is done when it is confirmed, or never will be."""
        return [one for one in self._in_hand.values() if not one.done()]

    async def close(self) -> None:
        """It looks no more."""
        self._is_closed = True
        await tasks.end(self._looking)
        for confirmed in self.unconfirmed():
            confirmed.cancel()

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
        user_id = self._connection.user_id
        before = self._live_events()
        frames, remaining = await self._offline.head(user_id)
        if not frames:
            return False
        distinct = await self._distinct(frames, before)
        if self._connection.ending is not None:
            # In the list it waits for who comes next.
            return False
        if not distinct:
            await self._let_others_confirm()
            await self._offline.confirm(user_id, frames)
            return True
        first = self._hand_out(distinct, remaining)
        sent = [(frames, first)]
        await asyncio.wait([first], timeout=HOLD_S)
        if not first.done():
            if remaining:
                sent += await self._hand_out_rest(frames, first)
            if len(sent) > 1 or not first.done():
                self._connection.release()
        for frames, confirmed in sent:
            await confirmed
            await self._take_away(frames)
        self._connection.hold()
        self._in_hand.clear()
        return True

    def _hand_out(self, frames: Sequence[bytes], remaining: int) -> asyncio.Future[None]:
        """Sends a batch; done when it is confirmed."""
        confirmed = asyncio.get_running_loop().create_future()
        if not frames:
            confirmed.set_result(None)
            return confirmed
        batch_id = str(uuid4())
        self._in_hand[batch_id] = confirmed
        raw = [Raw(frame) for frame in frames]
        self._connection.send(encode(Offline(batch_id=batch_id, frames=raw, remaining=remaining)))
        if not self._connection.caught_up_at:
            self._sent.update(frames)
        return confirmed

    async def _hand_out_rest(
        self, frames: Sequence[bytes], first: asyncio.Future[None]
    ) -> list[tuple[list[bytes], asyncio.Future[None]]]:
        """What waits behind the first batch is older than live messages that are held: as soon as there
        is one and the first batch is still not confirmed, it goes out unasked."""
        held = self._connection.holds_something()
        await asyncio.wait([first, held], return_when=asyncio.FIRST_COMPLETED)
        sent: list[tuple[list[bytes], asyncio.Future[None]]] = []
        if first.done():
            return sent
        try:
            batches = await self._offline.behind(self._connection.user_id, frames)
            remaining = sum(map(len, batches))
            for batch in batches:
                remaining -= len(batch)
                distinct = await self._distinct(batch, self._live_events())
                if self._connection.ending is not None:
                    break
                sent.append((batch, self._hand_out(distinct, remaining)))
                await self._connection.has_room()
        except Exception as error:
            report(error, "what waits behind a batch cannot be sent")
        return sent

    async def _take_away(self, confirmed: Sequence[bytes]) -> None:
        """From the list, as soon as Redis is there: who looked at it anew would take what is in hand
        for what nobody needs any more."""
        while True:
            try:
                return await self._offline.confirm(self._connection.user_id, confirmed)
            except Exception as error:
                report(error, "what was confirmed is still in the list")
                await asyncio.sleep(RETRY_S)

    async def _let_others_confirm(self) -> None:
        """What has been sent here already may be in the hand of another device, and is in the list
        until that one confirms it, goes, or does neither."""
        hands = [one for other in self._others() for one in other.backlog.unconfirmed()]
        if hands:
            await asyncio.wait(hands[:1], timeout=HOLD_S)

    def _live_events(self) -> dict[Connection, int]:
        return {other: other.live_events for other in self._others() if other.is_open}

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
                if self._connection.sees_event(place.event_id):
                    taken.append(frame)
                for other in others:
                    if before.get(other) == other.live_events:
                        other.take_listed_event(frame, place.event_id)
                continue
            if self._connection.sees(place.conversation_id, place.seq):
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
