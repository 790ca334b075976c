"""What client frames do."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from ws_parts import Chat, Log, connection, inbound, sent, take, until

from im.chat.v1.record_pb2 import ChatRecord
from im_common.bus import BusUnavailable
from im_common.domain import in_flight
from im_common.runtime.rate import Bucket
from ws_gateway.logic.inbound import Inbound


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


async def test_what_goes_wrong_with_one_client_does_not_end_in_the_bus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would take the link for broken, and fail what others sent."""
    one, failed = connection(), list[str]()

    def broken(_frame: bytes) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(one, "send", broken)
    asyncio.get_running_loop().set_exception_handler(lambda _, said: failed.append(said["message"]))
    frames, answers = inbound(one, Log(BusUnavailable("late")))
    await take(frames, '{"type":"chat","to":8,"content":"x","client_msg_id":"c"}')
    await asyncio.sleep(0)
    assert (len(failed), len(answers)) == (1, 0)


@pytest.mark.parametrize(
    ("answer_s", "longest_s"), [(0.001, 0.005), (0.04, 0.014), (10.0, 0.02)], ids=str
)
async def test_a_message_waits_for_others_the_longer_the_busier_it_is_here(
    answer_s: float, longest_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at all when it is the only one; where answers take long, for a part of that."""
    log, now = Log(), [0.0]
    frames, answers = inbound(connection(), log)
    monkeypatch.setattr(in_flight.time, "monotonic", lambda: now[0])

    async def send(count: int) -> None:
        for _ in range(count):
            number = len(log.records)
            text = f'{{"type":"chat","to":8,"content":"x","client_msg_id":"{number}"}}'
            await take(frames, text)

    await send(200)
    now[0] += answer_s
    for record in log.records:
        answers.settle(ChatRecord.FromString(record).origin.token, b'{"type":"sent"}')
    del log.lingers[:]
    await send(30)
    assert log.lingers[:3] == pytest.approx([0.0, 0.001, 0.002])
    assert log.lingers[-1] == pytest.approx(longest_s, rel=0.01)


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


async def test_a_connection_has_a_rate_and_who_ignores_it_is_sent_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # All at one moment, however long the test takes.
    monkeypatch.setattr("im_common.runtime.rate.time", SimpleNamespace(monotonic=lambda: 100.0))
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


@pytest.mark.parametrize(
    ("frame", "code", "field"),
    [
        ('{"type":"ack","conversation_id":"x","seq":1}', "INVALID_ARGUMENT", "conversation_id"),
        ('{"type":"read","conversation_id":"s:7:8","seq":-1}', "INVALID_ARGUMENT", "seq"),
        ('{"type":"sync","cursors":{"s:7:8":-1}}', "INVALID_ARGUMENT", "cursors"),
        ('{"type":"sync","cursors":{"s:7:8":9223372036854775808}}', "INVALID_ARGUMENT", "cursors"),
        ('{"type":"sync","limit":0}', "INVALID_ARGUMENT", "limit"),
        ('{"type":"sync","limit":501}', "INVALID_ARGUMENT", "limit"),
    ],
)
async def test_a_cursor_that_is_wrong_at_first_sight_goes_nowhere(
    frame: str, code: str, field: str | None
) -> None:
    one = connection(7)
    await take(inbound(one, Log())[0], frame)
    (error,) = sent(one)
    assert (error["code"], error.get("field")) == (code, field)


@pytest.mark.parametrize("seq", [0, 2**63 - 1])
async def test_the_least_and_the_most_that_a_cursor_may_be_are_asked_for(seq: int) -> None:
    one = connection(7)
    await take(inbound(one, Log())[0], f'{{"type":"sync","cursors":{{"s:7:8":{seq}}}}}')
    (answer,) = await until(one, 1)
    assert answer["type"] == "sync"


async def test_a_fault_behind_a_request_is_answered_and_shows_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Chat, "SyncFor", fail)
    one = connection(7)
    await take(inbound(one, Log())[0], '{"type":"sync","client_msg_id":"c"}')
    (error,) = await until(one, 1)
    assert (error["code"], error["client_msg_id"]) == ("INTERNAL", "c")
    assert error["message"] == "internal error"


async def test_where_there_is_no_room_a_message_on_its_way_may_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, log = connection(), Log()
    frames, answers = inbound(one, log)
    await take(frames, '{"type":"chat","to":8,"content":"x","client_msg_id":"c"}')
    monkeypatch.setattr(answers, "_limit", 1)
    for client_msg_id in ("c", "d"):
        text = f'{{"type":"chat","to":8,"content":"x","client_msg_id":"{client_msg_id}"}}'
        await take(frames, text)
    # It waits with the first one; the other is refused.
    (refused,) = sent(one)
    assert (refused["code"], refused["client_msg_id"]) == ("UNAVAILABLE", "d")
    assert len(log.records) == 1
