"""Sending by a call: one record for a message, and one answer for each who waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from chat_service.logic import send
from chat_service.logic.recall import recall_message
from chat_service.svc import ServiceContext
from im.chat.v1.record_pb2 import ChatRecord
from im_common.bus import BusUnavailable
from im_common.bus.topics import CHAT_TOPIC
from im_common.domain import frames
from im_common.errors import AppError, Code
from im_common.runtime import context
from im_common.testing.services import refusal
from im_common.testing.waiting import eventually

A, B, C = 1001, 1002, 1003
AB = "s:1001:1002"


@dataclass
class Log:
    """Takes records, or is away."""

    sent: list[tuple[bytes, ChatRecord, Mapping[str, bytes]]] = field(default_factory=list)
    is_away: bool = False

    async def send(self, topic: str, key: bytes, value: bytes, headers: Any = None) -> None:
        assert topic == CHAT_TOPIC
        if self.is_away:
            await asyncio.sleep(0)
            raise BusUnavailable("away")
        self.sent.append((key, ChatRecord.FromString(value), headers))


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def svc(desk: Any, log: Log) -> ServiceContext:
    made: ServiceContext = replace(desk.svc, producer=log)
    made.in_flight.address = "here:1"
    return made


def _chat(client_msg_id: str, to: int = B) -> frames.Chat:
    return frames.Chat(content="x", to=to, client_msg_id=client_msg_id)


def _begin(svc: ServiceContext, client_msg_id: str, to: int = B) -> asyncio.Task[frames.Sent]:
    return asyncio.create_task(send.send_message(svc, A, _chat(client_msg_id, to)))


def _sent(client_msg_id: str) -> frames.Sent:
    return frames.Sent(client_msg_id, "m-1", AB, 1, 5)


async def test_who_waits_gets_what_the_consumer_says(svc: ServiceContext, log: Log) -> None:
    call = _begin(svc, "c")
    await eventually(lambda: log.sent)
    ((key, record, headers),) = log.sent
    assert (key, record.origin.address, headers) == (AB.encode(), "here:1", {})
    svc.in_flight.settle(record.origin.token, frames.encode(_sent("c")))
    assert await call == _sent("c")
    # Nobody waits any more.
    assert len(svc.in_flight) == 0


async def test_a_refusal_is_raised(svc: ServiceContext, log: Log) -> None:
    call = _begin(svc, "c")
    await eventually(lambda: log.sent)
    refused = frames.error_frame(AppError(Code.BLOCKED, "no"), "c")
    svc.in_flight.settle(log.sent[0][1].origin.token, refused)
    assert (await refusal(call)).code is Code.BLOCKED


async def test_the_same_message_once_more_joins_the_one_on_its_way(
    svc: ServiceContext, log: Log
) -> None:
    calls = [_begin(svc, "c"), _begin(svc, "c")]
    # Its client_msg_id for somebody else is another record: the consumer refuses it.
    calls += [_begin(svc, "c", to=C), _begin(svc, "d")]
    await eventually(lambda: len(log.sent) == 3)
    for _, record, _ in log.sent:
        name = record.message.content.client_msg_id
        svc.in_flight.settle(record.origin.token, frames.encode(_sent(name)))
    assert [answer.client_msg_id for answer in await asyncio.gather(*calls)] == ["c", "c", "c", "d"]
    assert len(log.sent) == 3


async def test_while_the_log_is_away_all_who_wait_are_told(svc: ServiceContext, log: Log) -> None:
    log.is_away = True
    first, second = _begin(svc, "c"), _begin(svc, "c")
    with pytest.raises(BusUnavailable):
        await first
    assert (await refusal(second)).code is Code.UNAVAILABLE
    assert len(svc.in_flight) == 0


async def test_a_call_ends_in_time_for_its_answer_and_a_retry_joins(
    svc: ServiceContext, log: Log
) -> None:
    context.begin(deadline=time.monotonic() + 0.3)
    late = await refusal(send.send_message(svc, A, _chat("c")))
    assert late.code is Code.UNAVAILABLE
    request = context.current.get()
    assert request is not None
    # What is left is for the way back.
    assert (request.remaining_s() or 0) > 0
    assert log.sent[0][2] == {context.TRACEPARENT: request.traceparent.encode()}
    request.deadline = time.monotonic() + 10
    again = _begin(svc, "c")
    await asyncio.sleep(0)
    svc.in_flight.settle(log.sent[0][1].origin.token, frames.encode(_sent("c")))
    assert await again == _sent("c")
    assert len(log.sent) == 1


async def test_a_recall_is_a_record_of_its_conversation(
    desk: Any, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    svc = replace(desk.svc, producer=log)
    join, joined = svc.in_flight.join, list[bool]()
    monkeypatch.setattr(
        svc.in_flight, "join", lambda *asked: joined.append(join(*asked)) or joined[-1]
    )
    (place,) = await desk.say(A, B, "x")
    assert (await refusal(recall_message(svc, A, "none"))).code is Code.NOT_FOUND
    assert (await refusal(recall_message(svc, C, place.message_id))).code is Code.PERMISSION_DENIED
    assert log.sent == []
    calls = [asyncio.create_task(recall_message(svc, A, place.message_id)) for _ in range(2)]
    await eventually(lambda: log.sent)
    ((key, record, _),) = log.sent
    assert (key, record.recall.message_id, record.recall.user_id) == (
        AB.encode(),
        place.message_id,
        A,
    )
    done = frames.Recalled(AB, 1, place.message_id, A)
    # The other one may have to wait for the database for longer.
    await eventually(lambda: joined == [False, True])
    svc.in_flight.settle(record.origin.token, frames.encode(done))
    assert await asyncio.gather(*calls) == [done, done]


async def test_a_message_of_a_group_is_for_its_members_to_recall(desk: Any, log: Log) -> None:
    """Who is one by now the consumer knows."""
    svc = replace(desk.svc, producer=log)
    desk.groups.make(5, A, B)
    (place,) = await desk.say(A, 0, "x", group=5)
    call = asyncio.create_task(recall_message(svc, C, place.message_id))
    await eventually(lambda: log.sent)
    refused = frames.error_frame(AppError(Code.NOT_GROUP_MEMBER, "no"))
    svc.in_flight.settle(log.sent[0][1].origin.token, refused)
    assert (await refusal(call)).code is Code.NOT_GROUP_MEMBER
