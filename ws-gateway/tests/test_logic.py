"""What the gateway does with frames, apart from sockets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from im.chat.v1 import chat_pb2 as pb
from im.chat.v1.record_pb2 import ChatRecord
from im_common.bus import BusUnavailable
from im_common.domain.in_flight import InFlight
from im_common.domain.routes import Route
from im_common.errors import AppError, Code
from im_common.runtime.context import Identity
from im_common.runtime.rate import Bucket
from ws_gateway.logic.backlog import Backlog
from ws_gateway.logic.connection import TOO_SLOW, UNREAD_MS, Connection, Connections, Stores
from ws_gateway.logic.inbound import Inbound
from ws_gateway.logic.relay import Relay
from ws_gateway.logic.seen import MOST_EVENTS, WINDOW, Seen, SeenEvents
from ws_gateway.logic.turns import Turns

Start = Callable[..., Backlog]


def connection(user_id: int = 7, *, number: int = 1, max_queue: int = 100) -> Connection:
    identity = Identity(user_id, "s", "d", "web", 0)
    stores = Stores(List(), Recalls(), Chat())  # type: ignore[arg-type]
    route = Route("h:1", number, "web", "d")
    opened = Connection(identity, route, stores, max_queue=max_queue)
    opened.opened_at = 1.0
    return opened


def sent(of: Connection) -> list[dict[str, Any]]:
    return [msgspec.json.decode(item.frame) for item in of.outbox.queue]


def test_seen_knows_each_message_and_the_highest() -> None:
    rng = random.Random(7)
    for _ in range(200):
        seen, added = Seen(), set[int]()
        for seq in (rng.randint(1, 60) for _ in range(100)):
            assert seen.has("s:1:2", seq) == (seq in added)
            assert seen.is_newer("s:1:2", seq) == (seq > max(added, default=0))
            seen.add("s:1:2", seq)
            added.add(seq)
    assert not seen.has("s:1:3", 1)


def test_seen_forgets_what_is_long_ago() -> None:
    seen = Seen()
    seen.add("c", 1)
    seen.add("c", WINDOW)
    assert seen.has("c", 1)
    seen.add("c", WINDOW + 1)
    assert not seen.has("c", 1)
    seen.add("c", 1)
    assert [seen.has("c", seq) for seq in (1, WINDOW, WINDOW + 1)] == [False, True, True]
    seen.add("c", 10**15)
    assert [seen.has("c", seq) for seq in (WINDOW, 10**15)] == [False, True]


def test_a_delivery_that_is_repeated_neither_doubles_nor_reorders() -> None:
    """A device that connected after 1 and 2 were delivered gets 3; a new consumer repeats them all."""
    one = connection()
    for seq in (3, 1, 2, 3, 4):
        one.deliver(b"%d" % seq, "c", seq)
    one.deliver(b"1 of another", "d", 1)
    assert [item.frame for item in one.outbox.queue] == [b"3", b"4", b"1 of another"]


def test_messages_are_held_while_older_ones_are_sent() -> None:
    one = connection()
    one.hold()
    one.deliver(b"new", "c", 2)
    one.send(b"offline batch")
    assert [item.frame for item in one.outbox.queue] == [b"offline batch"]
    one.release()
    assert [item.frame for item in one.outbox.queue] == [b"offline batch", b"new"]


@pytest.mark.parametrize("held", [False, True])
def test_a_full_queue_ends_the_connection_and_keeps_its_messages(held: bool) -> None:
    one = connection(max_queue=3)
    if held:
        one.hold()
    for seq in range(1, 6):
        one.deliver(b"%d" % seq, "c", seq)
    assert one.ending is not None
    assert one.ending.code == TOO_SLOW
    assert one.unsent_messages() == [b"1", b"2", b"3", b"4", b"5"]


def test_connections_are_found_by_user() -> None:
    all_of_them = Connections()
    one, two, other = connection(), connection(number=2), connection(8)
    for each in (one, two, other):
        all_of_them.add(each)
    assert all_of_them.of(7) == [one, two]
    all_of_them.remove(one)
    all_of_them.remove(one)
    assert (all_of_them.of(7), len(all_of_them)) == ([two], 2)
    assert all_of_them.of(9) == []


class Log:
    """A bus that does as it is told."""

    def __init__(self, outcome: Exception | None = None, *, refuse: bool = False) -> None:
        self.records: list[bytes] = []
        self._outcome = outcome
        self._refuse = refuse

    async def enqueue(
        self, _t: str, _k: bytes, value: bytes, _h: Any, *, linger_s: float
    ) -> asyncio.Future[None]:
        if self._refuse:
            raise BusUnavailable("full")
        self.records.append(value)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._outcome:
            future.set_exception(self._outcome)
        else:
            future.set_result(None)
        return future


class List:
    """An offline list of one user."""

    def __init__(self, *frames: bytes) -> None:
        self.frames = list(frames)
        self.limit = 2

    async def head(self, _user_id: int) -> tuple[list[bytes], int]:
        limit = self.limit
        return self.frames[:limit], max(0, len(self.frames) - limit)

    async def confirm(self, _user_id: int, frames: list[bytes]) -> None:
        for frame in frames:
            if self.frames[:1] == [frame]:
                del self.frames[0]


class Recalls:
    """The recalls that one device has missed."""

    def __init__(self, *frames: bytes) -> None:
        self.frames = list(frames)

    async def missed(self, _user_id: int, _device_id: str) -> list[bytes]:
        return self.frames


class Chat:
    """A chat-service that refuses nothing, or is away."""

    def __init__(self, *refusals: pb.CursorRefusal) -> None:
        self.calls: list[pb.AdvanceCursorsRequest] = []
        self.refusals = refusals
        self.typing: list[pb.Typing] = []
        self.away = False

    async def RelayTyping(self, request: pb.RelayTypingRequest) -> pb.RelayTypingResponse:
        self.typing += request.typing
        if self.away:
            raise AppError(Code.UNAVAILABLE, "away")
        return pb.RelayTypingResponse()

    async def AdvanceCursors(self, request: pb.AdvanceCursorsRequest) -> pb.AdvanceCursorsResponse:
        self.calls.append(request)
        if self.away:
            raise AppError(Code.UNAVAILABLE, "away")
        return pb.AdvanceCursorsResponse(refusals=self.refusals)


def inbound(one: Connection, log: Log, rate: Bucket | None = None) -> tuple[Inbound, InFlight]:
    answers, chat = InFlight(), Chat()
    answers.address = "h:1"
    relay = Relay(chat)  # type: ignore[arg-type]
    return Inbound(one, answers, log, relay=relay, rate=rate), answers  # type: ignore[arg-type]


async def take(frames: Inbound, text: str | bytes) -> None:
    if (producing := frames.handle(text)) is not None:
        await producing


@pytest.mark.parametrize("log", [Log(BusUnavailable("late")), Log(refuse=True)])
async def test_a_bus_that_does_not_take_it_is_an_error_to_try_again(log: Log) -> None:
    one = connection()
    frames, answers = inbound(one, log)
    await take(frames, '{"type":"chat","to":8,"content":"x","client_msg_id":"c"}')
    await asyncio.sleep(0)
    (error,) = sent(one)
    assert (error["code"], error["client_msg_id"]) == ("UNAVAILABLE", "c")
    assert len(answers) == 0


async def test_what_the_bus_took_is_answered_later() -> None:
    one = connection()
    frames, answers = inbound(one, Log())
    await take(frames, '{"type":"chat","to":8,"content":"x","client_msg_id":"c"}')
    await asyncio.sleep(0)
    assert (sent(one), len(answers)) == ([], 1)


async def test_a_message_that_comes_again_on_its_way_costs_no_second_record() -> None:
    one, again, log = connection(), connection(number=2), Log()
    frames, answers = inbound(one, log)
    for text in ('"to":8,"content":"x"', '"to":8,"content":"x"', '"to":9,"content":"x"'):
        await take(frames, f'{{"type":"chat",{text},"client_msg_id":"c"}}')
    # The device came back.
    after = Inbound(again, answers, log, relay=frames._relay)  # type: ignore[arg-type]
    await take(after, '{"type":"chat","to":8,"content":"x","client_msg_id":"c"}')
    # The one to another user is for the consumer to refuse.
    assert (len(log.records), len(answers)) == (2, 2)
    first, _ = (ChatRecord.FromString(record) for record in log.records)
    answers.settle(first.origin.token, b'{"type":"sent"}')
    answers.settle(first.origin.token, b'{"type":"sent"}')
    assert [len(sent(c)) for c in (one, again)] == [2, 1]


async def test_a_connection_has_a_rate_and_who_ignores_it_is_sent_away() -> None:
    one, log = connection(max_queue=10_000), Log()
    frames, _ = inbound(one, log, Bucket(20, 40))
    for number in range(200):
        await take(frames, f'{{"type":"chat","to":8,"content":"x","client_msg_id":"{number}"}}')
    assert len(log.records) == 40
    refused = sent(one)
    assert {f["code"] for f in refused} == {"RATE_LIMITED"}
    # In the order in which their turns come, so that not all come back at once.
    waits = [f["retry_after_ms"] for f in refused]
    assert waits == sorted(waits)
    assert 7_000 < waits[-1] < 9_000
    assert one.ending is None
    for number in range(1_100):
        await take(frames, f'{{"type":"chat","to":8,"content":"x","client_msg_id":"{number}"}}')
    assert one.ending is not None
    assert one.ending.code == 4008


async def test_binary_frames_and_pings() -> None:
    one = connection()
    frames, _ = inbound(one, Log())
    await take(frames, b"\x00")
    await take(frames, '{"type":"ping"}')
    assert [f["type"] for f in sent(one)] == ["error", "pong"]


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Backlog]]:
    """Starts a backlog, which has been told to look."""
    tasks = []

    def begin(*parts: Any) -> Backlog:
        backlog = parts[0].backlog = Backlog(*parts)
        tasks.append(asyncio.create_task(backlog.run()))
        backlog.look()
        return backlog

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _until(of: Connection, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(5):
        while len(of.outbox) < count:
            await asyncio.sleep(0.001)
    return sent(of)


async def test_batches_follow_one_another_when_confirmed(start: Start) -> None:
    one = connection()
    backlog = start(one, List(b"1", b"2", b"3", b"3"), Recalls())
    one.deliver(b'"live"', "c", 9)
    (batch,) = await _until(one, 1)
    assert (batch["frames"], batch["remaining"]) == ([1, 2], 2)
    backlog.confirm("another batch")
    backlog.confirm(batch["batch_id"])
    _, batch = await _until(one, 2)
    assert (batch["frames"], batch["remaining"]) == ([3], 0)
    backlog.confirm(batch["batch_id"])
    *_, last = await _until(one, 3)
    assert last == "live"


def message(seq: int) -> bytes:
    return b'{"type":"message","conversation_id":"c","seq":%d}' % seq


def recalled(seq: int) -> bytes:
    return b'{"type":"recalled","conversation_id":"c","seq":%d}' % seq


async def test_what_is_in_the_list_and_comes_live_too_is_sent_once_and_in_order(
    start: Start,
) -> None:
    one = connection()
    repeated = [message(seq) for seq in (1, 2, 1, 2, 3)]
    backlog = start(one, List(*repeated, recalled(1)), Recalls())
    # A consumer repeats from 2 on while the list is being sent.
    for seq in (2, 3, 4):
        one.deliver(message(seq), "c", seq)
    *batches, last = await _confirm_all(one, backlog, 3)
    got = [(f["type"], f["seq"]) for batch in batches for f in batch["frames"]]
    assert got == [("message", 1), ("message", 2), ("message", 3), ("recalled", 1)]
    assert last["seq"] == 4


async def test_what_was_delivered_before_it_got_into_the_list_is_not_sent_again(
    start: Start,
) -> None:
    """The gateway was so slow that the consumer took it for dead."""
    one, listed = connection(), List(message(1), message(2), message(3))
    for seq in (1, 2):
        one.deliver(message(seq), "c", seq)
    backlog = start(one, listed, Recalls())
    one.deliver(message(4), "c", 4)
    *_, batch, last = await _confirm_all(one, backlog, 4)
    assert ([f["seq"] for f in batch["frames"]], last["seq"]) == ([3], 4)
    assert listed.frames == []


async def test_all_devices_get_what_one_of_them_takes_out_of_the_list(start: Start) -> None:
    one, other, behind = connection(), connection(number=2), connection(number=3)
    other.deliver(message(1), "c", 1)
    # It went on without 2 and 3: it has to come back.
    behind.deliver(message(4), "c", 4)
    listed = List(*map(message, (1, 2, 3)))
    backlog = start(one, listed, Recalls(), lambda: [other, behind])
    batches = await _confirm_all(one, backlog, 2)
    assert [f["seq"] for batch in batches for f in batch["frames"]] == [1, 2, 3]
    assert [f["seq"] for f in sent(other)] == [1, 2, 3]
    assert (behind.ending is not None, other.ending) == (True, None)


def test_what_is_held_back_is_not_dropped_for_something_younger_out_of_the_list() -> None:
    one = connection()
    one.hold()
    one.deliver(message(1), "c", 1)
    one.deliver(message(2), "c", 2)
    one.take_listed(message(3), "c", 3)
    one.release()
    # Its device comes back and syncs; nothing is forgotten.
    assert one.ending is not None
    assert one.unsent_messages() == [message(3), message(1), message(2)]


async def test_what_could_not_be_sent_any_more_comes_in_order(start: Start) -> None:
    """It was put into the list behind younger ones."""
    one, listed = connection(), List(message(3), message(2), recalled(2), message(1))
    listed.limit = 10
    backlog = start(one, listed, Recalls())
    (batch,) = await _confirm_all(one, backlog, 1)
    assert [(f["type"], f["seq"]) for f in batch["frames"]] == [
        ("message", 1),
        ("message", 2),
        ("recalled", 2),
        ("message", 3),
    ]


async def test_a_connection_that_missed_something_gets_no_more() -> None:
    one = connection()
    one.deliver(message(1), "c", 1)
    one.missed()
    one.deliver(message(3), "c", 3)
    assert [f["seq"] for f in sent(one)] == [1]
    assert one.unsent_messages() == [message(1), message(3)]


async def test_a_backlog_that_has_ended_begins_nothing_new(start: Start) -> None:
    """A push tells it to look while its connection is being closed."""
    one, listed = connection(), List(message(1))
    backlog = one.backlog = Backlog(one, listed, Recalls())  # type: ignore[arg-type]
    task = asyncio.create_task(backlog.run())
    backlog.look()
    await _until(one, 1)
    task.cancel()
    backlog.look()
    await asyncio.gather(task, return_exceptions=True)
    backlog.look()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def _confirm_all(one: Connection, backlog: Backlog, count: int) -> list[dict[str, Any]]:
    """Waits for so many frames, and confirms batches as they come."""
    for number in range(1, count + 1):
        frame = (await _until(one, number))[-1]
        if frame["type"] == "offline":
            backlog.confirm(frame["batch_id"])
    return sent(one)


async def test_missed_recalls_come_after_the_list_before_live_messages_and_once(
    start: Start,
) -> None:
    one = connection()
    listed, missed = List(b"1", b"2"), Recalls(b"2", b"7")
    backlog = start(one, listed, missed)
    one.deliver(b'"live"', "c", 9)
    (batch,) = await _until(one, 1)
    assert one.caught_up_at == 0
    backlog.confirm(batch["batch_id"])
    # What the list had is not told again.
    assert (await _until(one, 3))[1:] == [7, "live"]
    listed.frames = [b"5"]
    backlog.look()
    *_, batch = await _until(one, 4)
    backlog.confirm(batch["batch_id"])
    one.deliver(b'"last"', "c", 10)
    assert (await _until(one, 5))[-1] == "last"


def test_what_was_sent_just_before_a_device_was_last_heard_of_may_be_unread() -> None:
    one = connection()
    one.heard_at = 100_000
    assert one.read_until() == 0
    one.caught_up_at = 100_000 - UNREAD_MS + 1
    assert one.read_until() == 0
    one.caught_up_at -= 1
    assert one.read_until() == one.caught_up_at
    one.heard_at = 200_000
    assert one.read_until() == 200_000 - UNREAD_MS


async def test_who_confirms_nothing_gets_live_messages_all_the_same(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ws_gateway.logic.backlog.HOLD_S", 0.01)
    one = connection()
    start(one, List(b"1"), Recalls())
    one.deliver(b'"live"', "c", 9)
    assert (await _until(one, 2))[1] == "live"


async def test_acks_are_collected_the_highest_counts_and_none_is_lost() -> None:
    chat, one, two = Chat(), connection(7), connection(8)
    relay = Relay(chat)  # type: ignore[arg-type]
    for seq in (3, 9, 5):
        relay.advance(one, "s:7:8", delivered=seq)
    relay.advance(one, "s:7:8", read=4)
    relay.advance(two, "g:5", delivered=1)
    chat.away = True
    with pytest.raises(AppError):
        await relay.flush()
    relay.advance(one, "s:7:8", delivered=6)
    chat.away = False
    await relay.flush()
    moves = {
        m.user_id: (m.conversation_id, m.delivered_seq, m.read_seq) for m in chat.calls[1].moves
    }
    assert moves == {7: ("s:7:8", 9, 4), 8: ("g:5", 1, 0)}
    await relay.flush()
    assert len(chat.calls) == 2


async def test_a_cursor_that_is_refused_is_an_error_frame() -> None:
    one = connection(7)
    refusal = pb.CursorRefusal(user_id=7, conversation_id="g:5", code="NOT_GROUP_MEMBER")
    relay = Relay(Chat(refusal))  # type: ignore[arg-type]
    relay.advance(one, "g:5", read=1)
    await relay.flush()
    assert [f["code"] for f in sent(one)] == ["NOT_GROUP_MEMBER"]


@pytest.mark.parametrize(
    ("frame", "code", "field"),
    [
        ('{"type":"ack","conversation_id":"x","seq":1}', "INVALID_ARGUMENT", "conversation_id"),
        ('{"type":"read","conversation_id":"s:7:8","seq":-1}', "INVALID_ARGUMENT", "seq"),
    ],
)
async def test_a_cursor_that_is_wrong_at_first_sight_goes_nowhere(
    frame: str, code: str, field: str | None
) -> None:
    one = connection(7)
    await take(inbound(one, Log())[0], frame)
    (error,) = sent(one)
    assert (error["code"], error.get("field")) == (code, field)


def test_a_slow_connection_does_without_receipts_and_keeps_its_messages() -> None:
    one = connection(max_queue=4)
    for seq in range(1, 4):
        one.offer(b"receipt")
        one.deliver(b"%d" % seq, "c", seq)
    assert [item.frame for item in one.outbox.queue] == [b"receipt", b"1", b"2", b"3"]
    assert one.ending is None


async def test_typing_is_passed_on_at_a_bounded_rate_and_never_again() -> None:
    chat, one = Chat(), connection(7)
    relay = Relay(chat)  # type: ignore[arg-type]
    for to in range(100, 150):
        relay.typing(one, to, None)
    await relay.flush()
    assert [typing.to_user_id for typing in chat.typing] == [100, 101, 102, 103, 104]
    other = connection(8, number=2)
    relay.typing(other, None, 5)
    relay.typing(other, None, 5)
    chat.away = True
    await relay.flush()
    await relay.flush()
    assert [typing.group_id for typing in chat.typing[5:]] == [5]
    for to, group_id in ((None, None), (1, 2), (7, None), (-1, None)):
        with pytest.raises(AppError):
            relay.typing(one, to, group_id)


async def test_who_can_wait_goes_on_one_by_one_and_none_is_forgotten() -> None:
    turns, gone = Turns(), list[int]()

    async def go(number: int) -> None:
        await turns.take()
        gone.append(number)

    tasks = [asyncio.create_task(go(number)) for number in range(5)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    seen = list[int]()
    while len(gone) < 4:
        await asyncio.sleep(0)
        seen.append(len(gone))
    assert gone == [0, 2, 3, 4]
    # Others had their turns in between.
    assert seen.count(1) >= 1
    await go(9)
    assert gone[-1] == 9


def event(number: int) -> bytes:
    return b'{"type":"event","event_id":"e%d"}' % number


def test_an_event_that_is_repeated_or_was_put_into_the_log_twice_is_sent_once_and_in_order() -> (
    None
):
    """A device that connected after 1 and 2 were delivered gets 3; a new consumer repeats them all."""
    one = connection()
    for number, place in ((3, 3), (1, 1), (2, 2), (3, 3), (4, 4), (3, 5), (5, 6)):
        one.deliver(event(number), "events:0", place, f"e{number}")
    assert [f["event_id"] for f in sent(one)] == ["e3", "e4", "e5"]


async def test_an_event_of_the_list_and_of_now_goes_out_once_to_all_devices(start: Start) -> None:
    one, other = connection(), connection(number=2)
    other.deliver(event(1), "events:0", 5, "e1")
    listed = List(event(1), event(2), event(1))
    listed.limit = 10
    backlog = start(one, listed, Recalls(), lambda: [other])
    # Far apart, as places in a stream are.
    for number, place in ((1, 5 << 20), (2, 6 << 20), (2, 7 << 20), (3, 8 << 20)):
        one.deliver(event(number), "events:0", place, f"e{number}")
    batch, last = await _confirm_all(one, backlog, 2)
    assert [f["event_id"] for f in batch["frames"]] == ["e1", "e2"]
    assert last["event_id"] == "e3"
    assert [f["event_id"] for f in sent(other)] == ["e1", "e2"]
    assert one.ending is None


def test_seen_events_forgets_the_oldest() -> None:
    seen = SeenEvents()
    assert all(seen.add(str(number)) for number in range(MOST_EVENTS + 1))
    assert [str(number) in seen for number in (0, 1, MOST_EVENTS)] == [False, True, True]
    assert not seen.add("1")
