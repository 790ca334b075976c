"""Sending over gRPC (and HTTP): the same record to the same topic as a WebSocket frame."""

from __future__ import annotations

from collections.abc import Callable

from chat_service.logic.waiting_call import WaitingCall
from chat_service.svc import ServiceContext
from im.chat.v1.record_pb2 import ChatRecord
from im_common.bus import BusUnavailable
from im_common.bus.topics import CHAT_TOPIC
from im_common.domain import frames
from im_common.domain.content import build_record
from im_common.domain.in_flight import RetryKey
from im_common.runtime import context, tracing

# Longest wait for the outcome, and what of a caller's deadline is left for the way back.
MOST_WAIT_S = 10.0
WAY_BACK_S = 0.1


async def send_message(svc: ServiceContext, sender_id: int, chat: frames.Chat) -> frames.Sent:
    """Answers when the message is stored.

    Raises:
        AppError: a refusal, or UNAVAILABLE when the outcome is not known in time; a retry with the
            same client_msg_id never makes a second message.
    """
    answer = await submit(svc, lambda address: build_record(sender_id, chat, address))
    assert isinstance(answer, frames.Sent)
    return answer


async def submit(
    svc: ServiceContext, build: Callable[[str], ChatRecord]
) -> frames.Sent | frames.Recalled:
    """Puts a record on the topic and waits for what the consumer makes of it. Raises AppError."""
    in_flight, call, wait_s = svc.in_flight, WaitingCall(), _wait_s()
    record = build(in_flight.address)
    key, conversation_id = _key(record), _conversation_of(record)
    if in_flight.join(key, conversation_id, call.take):
        return await call.outcome(wait_s)
    token = record.origin.token = in_flight.begin(key, conversation_id, call.take)
    try:
        with tracing.inside("bus publish", "producer") as traceparent:
            await svc.producer.send(
                CHAT_TOPIC,
                conversation_id.encode(),
                record.SerializeToString(),
                trace_headers(traceparent),
            )
        return await call.outcome(wait_s)
    except BusUnavailable:
        in_flight.give_up(token)
        raise
    finally:
        in_flight.leave(token, call.take)


def _key(record: ChatRecord) -> RetryKey:
    if record.HasField("recall"):
        return RetryKey(record.recall.user_id, f"recall:{record.recall.message_id}")
    return RetryKey(record.message.sender_id, record.message.content.client_msg_id)


def _conversation_of(record: ChatRecord) -> str:
    if record.HasField("recall"):
        return record.recall.conversation_id
    return record.message.conversation_id


def trace_headers(traceparent: str | None = None) -> dict[str, bytes]:
    """Of a record: below that span, or the current request."""
    request = context.current.get()
    traceparent = traceparent or (request.traceparent if request else None)
    return {context.TRACEPARENT: traceparent.encode()} if traceparent else {}


def _wait_s() -> float:
    request = context.current.get()
    remaining = request.remaining_s() if request else None
    return MOST_WAIT_S if remaining is None else min(MOST_WAIT_S, max(0.0, remaining - WAY_BACK_S))
