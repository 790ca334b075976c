"""What a device has missed comes first, once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from redis.exceptions import RedisError
from ws_parts import (
    List,
    Recalls,
    Start,
    confirm_all,
    connection,
    event,
    message,
    recalled,
    sent,
    until,
)

from im_common.testing.waiting import eventually
from ws_gateway.logic.backlog import Backlog, look_at_all
from ws_gateway.logic.connection import Connection


class Sink:
    """A socket that takes everything."""

    writable = True

    def write(self, texts: Iterable[bytes]) -> None:
        pass

    def close(self, code: int, reason: str) -> None:
        pass

    def abort(self) -> None:
        pass


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Backlog]]:
    """Starts a backlog, which has been told to look."""
    begun = []

    def begin(*parts: Any) -> Backlog:
        backlog = parts[0].backlog = Backlog(*parts)
        begun.append(backlog)
        backlog.look()
        return backlog

    yield begin
    for backlog in begun:
        await backlog.close()


async def test_batches_follow_one_another_when_confirmed(start: Start) -> None:
    one = connection()
    backlog = start(one, List(b"1", b"2", b"3", b"3"), Recalls())
    one.deliver(b'"live"', "c", 9)
    (batch,) = await until(one, 1)
    assert (batch["frames"], batch["remaining"]) == ([1, 2], 2)
    backlog.confirm("another batch")
    backlog.confirm(batch["batch_id"])
    _, batch = await until(one, 2)
    assert (batch["frames"], batch["remaining"]) == ([3], 0)
    backlog.confirm(batch["batch_id"])
    *_, last = await until(one, 3)
    assert last == "live"


async def test_what_is_in_the_list_and_comes_live_too_is_sent_once_and_in_order(
    start: Start,
) -> None:
    one = connection()
    repeated = [message(seq) for seq in (1, 2, 1, 2, 3)]
    backlog = start(one, List(*repeated, recalled(1)), Recalls())
    # A consumer repeats from 2 on while the list is being sent.
    for seq in (2, 3, 4):
        one.deliver(message(seq), "c", seq)
    *batches, last = await confirm_all(one, backlog, 3)
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
    *_, batch, last = await confirm_all(one, backlog, 4)
    assert ([f["seq"] for f in batch["frames"]], last["seq"]) == ([3], 4)
    assert listed.frames == []


async def test_all_devices_get_what_one_of_them_takes_out_of_the_list(start: Start) -> None:
    one, other, behind = connection(), connection(number=2), connection(number=3)
    other.deliver(message(1), "c", 1)
    # It went on without 2 and 3: it has to come back.
    behind.deliver(message(4), "c", 4)
    listed = List(*map(message, (1, 2, 3)))
    backlog = start(one, listed, Recalls(), lambda: [other, behind])
    batches = await confirm_all(one, backlog, 2)
    assert [f["seq"] for batch in batches for f in batch["frames"]] == [1, 2, 3]
    assert [f["seq"] for f in sent(other)] == [1, 2, 3]
    assert (behind.ending is not None, other.ending) == (True, None)


@pytest.mark.parametrize("confirms", [True, False])
async def test_what_one_device_has_in_hand_is_not_taken_away_as_another_was_sent_it_too(
    start: Start, confirms: bool
) -> None:
    """Two came at the same time: nobody had confirmed it, and it was out of the list."""
    one, other = connection(), connection(number=2)
    listed = List(event(1), message(2), message(3))
    backlog = start(one, listed, Recalls(), lambda: [other])
    other_backlog = start(other, listed, Recalls(), lambda: [one])
    (batch,) = await until(one, 1)
    assert await until(other, 2) == batch["frames"]
    assert len(listed.frames) == 3
    if confirms:
        backlog.confirm(batch["batch_id"])
    else:
        await backlog.close()
    await eventually(lambda: len(listed.frames) == 1)
    batch = next(f for f in sent(one)[1:] + await until(other, 3) if f["type"] == "offline")
    assert [f["seq"] for f in batch["frames"]] == [3]
    for each in (backlog, other_backlog):
        each.confirm(batch["batch_id"])
    await eventually(lambda: not listed.frames)


async def test_a_device_without_a_hello_is_sent_nothing_of_the_list_of_another(
    start: Start,
) -> None:
    one, coming = connection(), connection(number=2)
    coming.opened_at = None
    backlog = start(one, List(message(1), event(2)), Recalls(), lambda: [coming])
    await confirm_all(one, backlog, 1)
    assert sent(coming) == []
    # It has not had them either: they are for it if they are still there when it looks.
    assert coming.sees("c", 1)
    assert coming.sees_event("e2")


class StaleList(List):
    """What it answers another one may have confirmed meanwhile."""

    def __init__(self, *frames: bytes) -> None:
        super().__init__(*frames)
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def head(self, user_id: int) -> tuple[list[bytes], int]:
        found = await super().head(user_id)
        self.asked.set()
        await self.may_answer.wait()
        return found


async def test_an_event_out_of_the_list_is_not_sent_to_a_device_after_a_younger_one(
    start: Start,
) -> None:
    """A third one took it out of the list before they came, or sent it to them."""
    one, early, young, quiet = (connection(number=number) for number in (1, 2, 3, 4))
    young.opened_at, others = None, [early, young, quiet]
    listed = StaleList(event(1))
    backlog = start(one, listed, Recalls(), lambda: others)
    await listed.asked.wait()
    young.opened_at = 2.0
    early.hold()
    for other in (early, young):
        other.deliver(event(2), "events:1", 2, "e2")
    early.release()
    listed.may_answer.set()
    await confirm_all(one, backlog, 1)
    heard = [[frame["event_id"] for frame in sent(other)] for other in others]
    assert heard == [["e2"], ["e2"], ["e1"]]


async def test_who_misses_something_is_ended_before_the_list_goes_on(start: Start) -> None:
    """The list of another device may have what is younger."""
    one, behind = connection(), connection(number=2)

    async def end_missing() -> None:
        behind.passed_over()

    backlog = start(one, List(message(3), event(1)), Recalls(), lambda: [behind], end_missing)
    await confirm_all(one, backlog, 1)
    assert (behind.ending is not None, sent(behind)) == (True, [])


async def test_what_was_sent_out_of_the_list_is_not_put_there_again(start: Start) -> None:
    """It came live as well, as the consumer gave it up, and the connection ends meanwhile."""
    one, behind = connection(), connection(number=2)
    backlog = start(one, List(event(1), message(1)), Recalls())
    one.deliver(event(1), "events:1", 1, "e1")
    one.deliver(message(1), "c", 1)
    one.deliver(event(2), "events:1", 2, "e2")
    await until(one, 1)
    behind.take_over(one)
    one.outbox.queue.clear()
    await one.close()
    assert one.unsent_messages() == behind.unsent_messages() == [event(2)]
    backlog.confirm("")


async def test_what_could_not_be_sent_any_more_comes_in_order(start: Start) -> None:
    """It was put into the list behind younger ones."""
    one, listed = connection(), List(message(3), message(2), recalled(2), message(1))
    listed.limit = 10
    backlog = start(one, listed, Recalls())
    (batch,) = await confirm_all(one, backlog, 1)
    assert [(f["type"], f["seq"]) for f in batch["frames"]] == [
        ("message", 1),
        ("message", 2),
        ("recalled", 2),
        ("message", 3),
    ]


async def test_a_backlog_that_has_ended_begins_nothing_new(start: Start) -> None:
    """A push tells it to look while its connection is being closed."""
    one, listed = connection(), List(message(1))
    backlog = one.backlog = Backlog(one, listed, Recalls())  # type: ignore[arg-type]
    backlog.look()
    await until(one, 1)
    closing = asyncio.create_task(backlog.close())
    await asyncio.sleep(0)
    backlog.look()
    await closing
    backlog.look()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_was_recalled_while_it_waited_goes_out_empty(start: Start) -> None:
    one, other = connection(), connection(number=2)
    kept = [
        b'{"type":"message","conversation_id":"c","seq":%d,"message_id":"m-%d","content":"x"}'
        % (n, n)
        for n in (1, 2)
    ]
    recall = b'{"type":"recalled","conversation_id":"c","seq":1,"message_id":"m-1"}'
    listed = List(*kept)
    backlog = start(one, listed, Recalls(recall), lambda: [other])
    (batch,) = await until(one, 1)
    shown = [(frame["content"], frame.get("recalled")) for frame in batch["frames"]]
    assert shown == [("", True), ("x", None)]
    assert [frame["content"] for frame in sent(other)] == ["", "x"]
    backlog.confirm(batch["batch_id"])
    await until(one, 2)
    assert listed.frames == []


async def test_missed_recalls_come_after_the_list_before_live_messages_and_once(
    start: Start,
) -> None:
    one = connection()
    listed, missed = List(b"1", b"2"), Recalls(b"2", b"7")
    backlog = start(one, listed, missed)
    one.deliver(b'"live"', "c", 9)
    (batch,) = await until(one, 1)
    assert one.caught_up_at == 0
    backlog.confirm(batch["batch_id"])
    # What the list had is not told again.
    assert (await until(one, 3))[1:] == [7, "live"]
    listed.frames = [b"5"]
    backlog.look()
    *_, batch = await until(one, 4)
    backlog.confirm(batch["batch_id"])
    one.deliver(b'"last"', "c", 10)
    assert (await until(one, 5))[-1] == "last"


async def test_who_confirms_nothing_gets_live_messages_all_the_same(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ws_gateway.logic.backlog.HOLD_S", 0.01)
    one = connection()
    start(one, List(b"1"), Recalls())
    one.deliver(b'"live"', "c", 9)
    assert (await until(one, 2))[1] == "live"


async def test_what_waits_behind_an_unconfirmed_batch_goes_out_before_what_is_younger(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection ended when such a batch was confirmed."""
    monkeypatch.setattr("ws_gateway.logic.backlog.HOLD_S", 0.01)
    one, other = connection(), connection(number=2)
    listed = List(*map(message, (1, 2, 3)), event(1), message(4))
    backlog = start(one, listed, Recalls(), lambda: [other])
    await until(one, 1)
    one.deliver(message(5), "c", 5)
    *batches, live = await until(one, 4)
    assert [batch["remaining"] for batch in batches] == [3, 1, 0]
    listed_seqs = [f.get("seq") or f["event_id"] for batch in batches for f in batch["frames"]]
    assert (listed_seqs, live["seq"]) == ([1, 2, 3, "e1", 4], 5)
    assert [f.get("seq") or f["event_id"] for f in sent(other)] == listed_seqs
    one.deliver(message(6), "c", 6)
    # Each is in the list until it and those before it are confirmed.
    for number, left in ((1, 5), (0, 1), (2, 0)):
        backlog.confirm(batches[number]["batch_id"])
        await eventually(lambda left=left: len(listed.frames) == left)
    one.deliver(message(7), "c", 7)
    assert [f["seq"] for f in (await until(one, 6))[4:]] == [6, 7]
    assert one.ending is None


async def test_what_is_not_confirmed_stays_in_the_list_when_redis_fails_for_what_is(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ws_gateway.logic.backlog.HOLD_S", 0.01)
    monkeypatch.setattr("ws_gateway.logic.backlog.RETRY_S", 0.01)

    class Failing(List):
        tries = 0

        async def confirm(self, user_id: int, frames: list[bytes]) -> None:
            self.tries += 1
            if self.tries == 1:
                raise RedisError("away")
            await super().confirm(user_id, frames)

    one, listed = connection(), Failing(*map(message, (1, 2, 3, 4)))
    backlog = start(one, listed, Recalls())
    await until(one, 1)
    one.deliver(message(5), "c", 5)
    *batches, _ = await until(one, 3)
    backlog.confirm(batches[0]["batch_id"])
    await eventually(lambda: listed.tries == 2)
    # Whatever it would do at once.
    for _ in range(100):
        await asyncio.sleep(0)
    assert listed.frames == [message(3), message(4)]
    backlog.confirm(batches[1]["batch_id"])
    await eventually(lambda: not listed.frames)


async def test_an_event_of_the_list_and_of_now_goes_out_once_to_all_devices(start: Start) -> None:
    one, other = connection(), connection(number=2)
    other.deliver(event(1), "events:0", 5, "e1")
    listed = List(event(1), event(2), event(1))
    listed.limit = 10
    backlog = start(one, listed, Recalls(), lambda: [other])
    # Far apart, as places in a stream are.
    for number, place in ((1, 5 << 20), (2, 6 << 20), (2, 7 << 20), (3, 8 << 20)):
        one.deliver(event(number), "events:0", place, f"e{number}")
    batch, last = await confirm_all(one, backlog, 2)
    assert [f["event_id"] for f in batch["frames"]] == ["e1", "e2"]
    assert last["event_id"] == "e3"
    assert [f["event_id"] for f in sent(other)] == ["e1", "e2"]
    assert one.ending is None


async def test_a_connection_closes_though_its_cancellation_is_swallowed() -> None:
    """As a call of Redis does that is just being sent; whose connection never closed kept its route."""

    class Swallowing(List):
        asked = 0

        async def head(self, user_id: int) -> tuple[list[bytes], int]:
            self.asked += 1
            if self.asked == 1:
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
            return await super().head(user_id)

    one, listed = connection(), Swallowing()
    one.backlog = Backlog(one, listed, Recalls())  # type: ignore[arg-type]
    one.begin(Sink())
    one.open(b"{}")
    one.backlog.look_itself()
    async with asyncio.timeout(10):
        while not listed.asked:
            await asyncio.sleep(0)
        await one.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


class Counted(List):
    """Counts who looks, and is away at first for so many."""

    def __init__(self, *frames: bytes, away: int = 0) -> None:
        super().__init__(*frames)
        self.looks, self._away = 0, away

    async def head(self, user_id: int) -> tuple[list[bytes], int]:
        self.looks += 1
        await asyncio.sleep(0)
        if self.looks <= self._away:
            raise ConnectionError("Redis is away")
        return await super().head(user_id)


async def test_when_redis_is_back_the_list_is_there(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ws_gateway.logic.backlog.RETRY_S", 0.0)
    one = connection()
    start(one, Counted(message(1), away=2), Recalls())
    (batch,) = await until(one, 1)
    assert [frame["seq"] for frame in batch["frames"]] == [1]


async def test_who_is_ended_meanwhile_looks_no_more(start: Start) -> None:
    one, listed = connection(), Counted(message(1))

    async def end_missing() -> None:
        one.missed()

    start(one, listed, Recalls(), tuple, end_missing)
    for _ in range(50):
        await asyncio.sleep(0)
    assert (listed.looks, sent(one), listed.frames) == (1, [], [message(1)])


class Lists(List):
    """Of many users, who may have frames in them; or away."""

    def __init__(self, *user_ids: int, away: bool = False) -> None:
        super().__init__(message(1))
        self.user_ids, self._away = user_ids, away

    async def waiting(self, user_ids: list[int]) -> list[int]:
        if self._away:
            raise ConnectionError("Redis is away")
        await asyncio.sleep(0)
        return [user_id for user_id in user_ids if user_id in self.user_ids]


def _expecting(user_id: int, listed: List, recalls: Recalls) -> Connection:
    """It has just been opened."""
    one = connection(user_id)
    one.backlog = Backlog(one, listed, recalls)  # type: ignore[arg-type]
    one.open(b'"hello"')
    one.deliver(message(2), "c", 2)
    return one


async def _look(listed: List, recalls: Recalls, *connections: Connection) -> None:
    backlogs = [one.backlog for one in connections]
    await look_at_all(backlogs, listed, recalls)  # type: ignore[arg-type]


async def test_those_who_come_together_get_what_each_missed_before_what_is_new() -> None:
    listed, recalls = Lists(8), Recalls()
    a, b = (_expecting(user_id, listed, recalls) for user_id in (7, 8))
    await _look(listed, recalls, a, b)
    assert sent(a)[1:] == [msgspec.json.decode(message(2))]
    _, batch = await until(b, 2)
    b.backlog.confirm(batch["batch_id"])
    *_, last = await until(b, 3)
    assert ([frame["seq"] for frame in batch["frames"]], last["seq"]) == ([1], 2)
    assert (a.caught_up_at > 0, b.caught_up_at > 0) == (True, True)


async def test_recalls_that_a_device_missed_come_before_what_is_new() -> None:
    listed, recalls = Lists(), Recalls(recalled(1))
    one = _expecting(7, listed, recalls)
    await _look(listed, recalls, one)
    assert [frame["type"] for frame in sent(one)[1:]] == ["recalled", "message"]


async def test_who_is_told_of_its_list_meanwhile_looks_once_more() -> None:
    listed, recalls = Lists(), Recalls()
    one = _expecting(7, listed, recalls)
    looking = asyncio.create_task(_look(listed, recalls, one))
    await asyncio.sleep(0)
    one.backlog.look()
    assert len(sent(one)) == 1
    await looking
    _, batch = await until(one, 2)
    assert [frame["seq"] for frame in batch["frames"]] == [1]
    await one.backlog.close()


async def test_when_redis_is_away_each_looks_itself_until_it_is_back() -> None:
    listed, recalls = Lists(away=True), Recalls()
    a, b = (_expecting(user_id, listed, recalls) for user_id in (7, 8))
    await _look(listed, recalls, a, b)
    for one in (a, b):
        _, batch = await until(one, 2)
        assert [frame["seq"] for frame in batch["frames"]] == [1]
        await one.backlog.close()


async def test_who_has_gone_meanwhile_is_sent_nothing_and_keeps_what_is_for_the_list() -> None:
    listed, recalls = Lists(), Recalls(recalled(1))
    one = _expecting(7, listed, recalls)
    await one.close()
    await _look(listed, recalls, one)
    assert one.unsent_messages() == [message(2)]
    assert sent(one) == []
