"""One connection of one user, apart from its socket: all that is its own, and what it is sent, in
which order."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from im.gateway.v1.push_pb2 import Delivery
from im_common.domain.frames import Kick, encode
from im_common.domain.offline import OfflineList
from im_common.domain.recalls import RecallLog
from im_common.domain.routes import Route
from im_common.runtime import metrics
from im_common.runtime.addresses import network
from im_common.runtime.context import Identity
from ws_gateway.logic.backlog import Backlog, place_of
from ws_gateway.logic.outbox import Ending, Outbox, Outlet, Queued
from ws_gateway.logic.requests import Requests
from ws_gateway.logic.seen import Seen, SeenEvents

if TYPE_CHECKING:
    from im.chat.v1.chat_pb2_grpc import ChatServiceAsyncStub

TOKEN_INVALID = 4001
KICKED = 4002
TOO_SLOW = 4003
BROKEN_PROTOCOL = 4004
RATE_IGNORED = 4008
GOING_AWAY = 1001

# So many clients that were sent elsewhere come back there in a second, and the longest that one waits.
BACK_A_SECOND = 500
MOST_WAIT_MS = 10_000

# Of so many events it is known whom they were given to: more than a consumer repeats that begins where
# another one ended.
MOST_TOLD = 20_000

# Of large frames no more are to wait for a socket, which is looked at again so soon.
FEW = 4
PAUSE_S = 0.01

# What was sent to a device so shortly before it was last heard of, it may not have read.
UNREAD_MS = 5_000


class Live(NamedTuple):
    """A message on its way; with seq 0 another frame that keeps its order among the messages."""

    frame: bytes
    conversation_id: str
    seq: int
    # Of an event.
    event_id: str = ""


class Run:
    """Messages of one conversation, in ascending order, made ready once for all who get them."""

    __slots__ = ("conversation_id", "lives", "queued", "seqs")

    def __init__(self, lives: Sequence[Live]) -> None:
        self.conversation_id = lives[0].conversation_id
        self.lives = lives
        self.seqs = [live.seq for live in lives]
        self.queued = [Queued(live.frame, True) for live in lives]


@dataclass(frozen=True, slots=True)
class Stores:
    """Where a connection finds what it was not sent live."""

    offline: OfflineList
    recalls: RecallLog
    chat: ChatServiceAsyncStub
    # Ends the connections that something is missing on. Raises when Redis is away.
    end_missing: Callable[[], Awaitable[None]]


class Connection:
    """What a client is sent: by its outbox, or held back; and what it is owed besides.

    A conversation's messages go out with rising `seq`, each once. One that was not here when it was
    new, and is repeated after a consumer's death, is for `sync`: in between this connection had
    younger ones. While the offline list is being sent, live messages are held back, so that a device
    sees the older ones first.

    An open connection is owed all that is written from `hello` on, in order. Where that cannot be kept
    it ends, so that its device comes back and syncs: it never stays open with something missing.
    """

    def __init__(
        self,
        identity: Identity,
        route: Route,
        stores: Stores,
        *,
        max_queue: int,
        address: str = "",
        others: Callable[[Connection], Iterable[Connection]] = lambda _: (),
    ) -> None:
        """``address``: its client's, empty when that is not known; ``others``: the user's other
        connections here."""
        self.id = route.connection_id
        self.identity = identity
        self.user_id = identity.user_id
        self.route = route
        self.network = network(address)
        self.ending: Ending | None = None
        # Whether the consumer puts into the list what it would be given, and has done so.
        self.is_passed_over = False
        # time.monotonic() seconds, from the `hello` on; None before.
        self.opened_at: float | None = None
        self.bad_frames = 0
        # When its `typing` frames pass again, in seconds of time.monotonic().
        self.typing_until = 0.0
        # Unix milliseconds: when it was sent the recalls that it had missed, and when it last sent
        # something itself; 0 before.
        self.caught_up_at = 0
        self.heard_at = 0
        self.outbox = Outbox(max_queue, self._too_slow)
        self.backlog = Backlog(
            self, stores.offline, stores.recalls, lambda: others(self), stores.end_missing
        )
        self.requests = Requests(self, stores.chat)
        self._held: deque[Live] | None = None
        self._holds_something: asyncio.Future[None] | None = None
        # Whether its socket is no more, and all that it was not sent is held.
        self.has_gone = False
        self._seen = Seen()
        self._seen_events = SeenEvents()
        # How many events it was sent that came live.
        self.live_events = 0
        self._max_queue = max_queue

    def begin(self, outlet: Outlet) -> None:
        """It has a socket. What comes is held until it is open and has what it missed."""
        self.hold()
        self.outbox.attach(outlet)

    def take_over(self, other: Connection) -> None:
        """What another one of the user still holds. Of one that is about to end: it never sends it,
        and puts it into no list while this one is here. Of one that has gone: it may be on its way into
        the list. Else behind a list that this one is sent as well, and then what comes after it."""
        if other._held:
            self.hold()
            assert self._held is not None
            self._held.extend(other._unsent_held())
            if other.ending is not None and not other.has_gone:
                other._held.clear()

    def open(self, hello: bytes) -> None:
        """From now on it is sent what comes: its route is known to all. What it missed comes first, and
        is next to be looked for (``look_at_all``)."""
        self.send(hello)
        self.opened_at = time.monotonic()
        self.backlog.expect()

    async def close(self) -> None:
        """Its socket has gone: ends all that is its own. What it was not sent, and what still comes, is
        kept for the list."""
        self.outbox.detach()
        self._keep_unsent()
        await self.backlog.close()
        await self.requests.close()

    def send(self, frame: bytes) -> None:
        """An answer, or another frame that is of use to this connection only."""
        self._put(Queued(frame, False))

    async def has_room(self) -> None:
        """Waits until its socket has taken most of what it was sent."""
        while len(self.outbox) >= FEW and self.ending is None:
            await asyncio.sleep(PAUSE_S)

    def offer(self, frame: bytes) -> None:
        """A frame that a slow connection does without."""
        if self.ending is None and self.opened_at and len(self.outbox) < self._max_queue // 2:
            self._put(Queued(frame, False))

    def deliver(self, frame: bytes, conversation_id: str, seq: int, event_id: str = "") -> None:
        """A message or an event, dropped when it or a younger one of its conversation was sent here;
        or, with seq 0, another frame that keeps its order among the messages."""
        if event_id and event_id in self._seen_events:
            return
        if self._held is None and self.ending is None:
            if seq and not self._seen.add_newer(conversation_id, seq):
                return
            if event_id:
                self._seen_events.add(event_id)
                self.live_events += 1
            self._put(Queued(frame, True))
            return
        if seq and not self._seen.is_newer(conversation_id, seq):
            return
        # Kept for unsent_messages even when it is one too many, or the connection is about to end.
        self.hold()
        assert self._held is not None
        self._held.append(Live(frame, conversation_id, seq, event_id))
        if self._holds_something is not None and not self._holds_something.done():
            self._holds_something.set_result(None)
        if len(self._held) > self._max_queue:
            self._too_slow()

    def deliver_run(self, run: Run) -> None:
        """The same of messages of one conversation, in ascending order, that many others get too."""
        if self._held is not None or self.ending is not None:
            for live in run.lives:
                self.deliver(live.frame, live.conversation_id, live.seq)
            return
        new = self._seen.add_new(run.conversation_id, run.seqs)
        if new and not self.outbox.put_all(run.queued[-new:]):
            self._too_slow()

    def hold(self) -> None:
        """From now on live messages wait until ``release``."""
        if self._held is None:
            self._held = deque()

    def holds_something(self) -> asyncio.Future[None]:
        """Done as soon as something waits for ``release``."""
        self._holds_something = asyncio.get_running_loop().create_future()
        if self._held:
            self._holds_something.set_result(None)
        return self._holds_something

    def release(self) -> None:
        if self.ending is not None or self.has_gone:
            return
        held, self._held = self._held, None
        while held and self.ending is None:
            live = held.popleft()
            # It may have been in the offline list, too.
            if live.event_id and not self.sees_event(live.event_id):
                continue
            if not live.seq or self.sees(live.conversation_id, live.seq):
                self.live_events += bool(live.event_id)
                self._put(Queued(live.frame, True))
            elif self.ending is not None:
                held.appendleft(live)
        if held:
            self._held = held

    def sees(self, conversation_id: str, seq: int) -> bool:
        """Notes a message that is sent in another way than by ``deliver``; whether it is the first
        time. One that is older than what went out was missed: the connection ends."""
        if self._seen.has(conversation_id, seq):
            return False
        if not self._seen.is_newer(conversation_id, seq):
            self.missed()
            return False
        self._seen.add(conversation_id, seq)
        return True

    def sees_event(self, event_id: str) -> bool:
        """Notes an event that is sent in another way than by ``deliver``; whether it is the first
        time."""
        return self._seen_events.add(event_id)

    def take_listed_event(self, frame: bytes, event_id: str) -> None:
        """As ``take_listed``, of an event."""
        if self.is_open and self.sees_event(event_id):
            self._put(Queued(frame, True))

    def take_listed(self, frame: bytes, conversation_id: str, seq: int) -> None:
        """A message out of the offline list that another device of the user is about to take away."""
        if self.is_open and self.sees(conversation_id, seq):
            self._put(Queued(frame, True))

    def missed(self) -> None:
        """It was not sent something that it was owed."""
        self.end(GOING_AWAY, "something was missed, connect again")

    def passed_over(self) -> None:
        """The consumer could not tell it something, and has put that into the list of its user, where
        it puts all until somebody is here again. An event that is held here is older than the list, or
        is in it."""
        self.missed()
        self.is_passed_over = True
        if self._held:
            self._held = deque(live for live in self._held if not live.event_id)

    def kick(self, reason: str) -> None:
        if self.opened_at:
            self.send(encode(Kick(reason=reason)))
        self.end(KICKED, reason)

    def end(self, code: int, reason: str) -> None:
        """Its socket is closed; the first reason counts."""
        if self.ending is None:
            self.ending = Ending(code, reason, flush=code != TOO_SLOW)
            metrics.CONNECTIONS_ENDED.labels(code).inc()
            self.outbox.finish(self.ending)

    def read_until(self) -> int:
        """Unix milliseconds up to which it has read for certain all recalls; 0 when that is not
        known."""
        read_until = self.heard_at - UNREAD_MS
        return read_until if 0 < self.caught_up_at <= read_until else 0

    @property
    def is_open(self) -> bool:
        """Whether what it is sent reaches its device."""
        return self.opened_at is not None and self.ending is None and not self.has_gone

    def unsent_messages(self) -> list[bytes]:
        """Messages that never reached the socket, oldest first."""
        return self.outbox.unsent() + [live.frame for live in self._unsent_held()]

    def forget_unsent(self, frames: Iterable[bytes]) -> None:
        """These are in the list, which one that has gone need not put there."""
        for frame in frames:
            if self.has_gone and self._held and self._held[0].frame == frame:
                self._held.popleft()

    def _keep_unsent(self) -> None:
        unsent = [_live(frame) for frame in self.outbox.unsent()]
        if self.is_passed_over:
            unsent = [live for live in unsent if not live.event_id]
        self._held = deque([*unsent, *self._unsent_held()])
        self.outbox.queue.clear()
        self.has_gone = True

    def _unsent_held(self) -> list[Live]:
        """Without what it was sent out of the list meanwhile."""
        if self.has_gone:
            return list(self._held or ())
        return [
            live
            for live in self._held or ()
            if live.event_id not in self._seen_events
            and not (live.seq and self._seen.has(live.conversation_id, live.seq))
        ]

    def _put(self, item: Queued) -> None:
        if self.ending is not None and not self.ending.flush:
            # Kept for unsent_messages; nobody sends it here any more.
            if item.is_message:
                self.outbox.put(item)
        elif not self.outbox.put(item):
            self._too_slow()

    def _too_slow(self) -> None:
        self.end(TOO_SLOW, "too slow")


def _live(frame: bytes) -> Live:
    """A frame again that waited for its socket."""
    place = place_of(frame)
    if place is None:
        return Live(frame, "", 0)
    return Live(frame, place.conversation_id, place.seq, place.event_id)


def going_away(leaving: int) -> str:
    """The reason of a close for one of ``leaving`` clients who are sent elsewhere: with a random time
    to wait before it connects again, so that they do not come all at once."""
    most_ms = min(MOST_WAIT_MS, leaving * 1000 // BACK_A_SECOND)
    return f"going away; retry_after_ms={secrets.randbelow(most_ms + 1)}"


class Connections:
    """All connections of this instance."""

    def __init__(self) -> None:
        self._by_user: dict[int, list[Connection]] = {}
        self._by_network: Counter[str] = Counter()
        self._count = 0
        # What was given to somebody's connections here.
        self._told = SeenEvents(MOST_TOLD)
        metrics.CONNECTION_QUEUES.set_function(lambda: sum(self._queued()))
        metrics.CONNECTION_QUEUE.set_function(lambda: max(self._queued(), default=0))

    def __len__(self) -> int:
        return self._count

    def add(self, connection: Connection) -> None:
        self._by_user.setdefault(connection.user_id, []).append(connection)
        self._by_network[connection.network] += 1
        self._count += 1
        metrics.CONNECTIONS.set(self._count)

    def remove(self, connection: Connection) -> None:
        of_user = self._by_user.get(connection.user_id, [])
        if connection in of_user:
            of_user.remove(connection)
            self._count -= 1
            metrics.CONNECTIONS.set(self._count)
            self._by_network[connection.network] -= 1
            if not self._by_network[connection.network]:
                del self._by_network[connection.network]
            if not of_user:
                del self._by_user[connection.user_id]

    def of(self, user_id: int) -> list[Connection]:
        return self._by_user.get(user_id, [])

    def at(self, address: str) -> int:
        """How many come from there."""
        return self._by_network[network(address)]

    def hand_over(self, delivery: Delivery) -> list[int]:
        """Gives a frame to all connections of its users; those of them who should have had it and are
        not here, or no more for the consumer. An event that is repeated, as a consumer died, is for
        none who came since: that device may have had younger ones before."""
        absent = []
        event_id, is_ephemeral = delivery.event_id, delivery.ephemeral
        frame, conversation_id, seq = delivery.frame, delivery.conversation_id, delivery.seq
        left_out, left_out_sessions = delivery.except_connection_id, delivery.except_session_ids
        for user_id in delivery.user_ids:
            is_here = False
            told = f"{user_id}:{event_id}" if event_id else ""
            is_repeated = bool(told) and told in self._told
            for connection in self._by_user.get(user_id, ()):
                if connection.is_passed_over:
                    continue
                is_here = True
                if is_repeated or connection.id == left_out:
                    continue
                if left_out_sessions and connection.identity.session_id in left_out_sessions:
                    continue
                if is_ephemeral:
                    connection.offer(frame)
                else:
                    connection.deliver(frame, conversation_id, seq, event_id)
            if is_here and told:
                self._told.add(told)
            if not is_here and not is_ephemeral:
                absent.append(user_id)
        return absent

    def _queued(self) -> Iterator[int]:
        return (len(connection.outbox) for connection in self.all())

    def all(self) -> list[Connection]:
        return [connection for of_user in self._by_user.values() for connection in of_user]
