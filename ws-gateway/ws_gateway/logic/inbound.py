"""What each client frame does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from im.chat.v1.record_pb2 import ChatRecord
from im_common.bus import BusUnavailable, Producer
from im_common.bus.topics import CHAT_TOPIC
from im_common.domain import frames
from im_common.domain.content import build_record
from im_common.domain.in_flight import InFlight, RetryKey
from im_common.errors import AppError, Code
from im_common.runtime import metrics, tracing
from im_common.runtime.context import TRACEPARENT, new_traceparent
from im_common.runtime.rate import Bucket
from im_common.runtime.tallies import Tally
from ws_gateway.logic.connection import BROKEN_PROTOCOL, RATE_IGNORED, Connection
from ws_gateway.logic.relay import Relay

# So many bad frames in a row, and the connection ends.
MOST_BAD_FRAMES = 32
# So many messages over its rate at once, and so many a second for long, and the connection ends.
MOST_OVER_RATE = 1_000
OVER_RATE_PER_S = 50
# A message may wait for others to share its request to the bus: not at all when it is the only one
# without an answer here, and the longer, the more there are. Where answers take long, as the machine is
# busy, fewer and larger requests make them quicker: then it may be a part of that time.
LINGER_EACH_S = 0.001
LINGER_S = 0.005
LINGER_SHARE = 0.35
MOST_LINGER_S = 0.02

_OVER_RATE = metrics.REFUSED.labels("rate")
_RECEIVED = Tally(
    "im_frames_received_total", "Frames of clients", "type", [*frames.CLIENT_TYPES, "bad"]
)


class Inbound:
    """The frames of one connection, in the order in which they came."""

    def __init__(
        self,
        connection: Connection,
        in_flight: InFlight,
        producer: Producer,
        *,
        relay: Relay,
        rate: Bucket | None = None,
    ) -> None:
        """``rate`` bounds the messages of this connection; None for no bound."""
        self._connection = connection
        # Whether its messages have waited too long before they came here.
        self.is_late = False
        self._in_flight = in_flight
        self._rate = rate
        self._over_rate = Bucket(OVER_RATE_PER_S, MOST_OVER_RATE)
        self._producer = producer
        self._relay = relay
        # Of messages whose trace is not recorded: one for the connection.
        self._headers = {TRACEPARENT: new_traceparent().encode()}

    def handle(self, text: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Takes one frame. What it returns is to be awaited before the next one: a message waits there
        for room in the bus's buffer."""
        try:
            if isinstance(text, bytes):
                raise frames.BadFrame("a frame must be text", None, None)
            frame = frames.decode(text)
        except frames.BadFrame as error:
            _RECEIVED.counts["bad"] += 1
            self._refuse(error)
            return None
        _RECEIVED.counts[str(frame.__struct_config__.tag)] += 1
        self._connection.bad_frames = 0
        if isinstance(frame, frames.Chat):
            return self._chat(frame)
        try:
            self._take(frame)
        except AppError as error:
            self._connection.send(frames.error_frame(error, frame.client_msg_id))
        return None

    def _take(self, frame: frames.AnyClientFrame) -> None:
        if isinstance(frame, (frames.Ack, frames.Read)):
            self._relay.advance(self._connection, frame)
        elif isinstance(frame, frames.Sync):
            self._connection.requests.sync(frame)
        elif isinstance(frame, frames.Recall):
            self._connection.requests.recall(frame)
        elif isinstance(frame, frames.Typing):
            self._relay.typing(self._connection, frame.to, frame.group_id)
        elif isinstance(frame, frames.Ping):
            self._connection.send(frames.PONG)
        elif isinstance(frame, frames.OfflineAck):
            self._connection.backlog.confirm(frame.batch_id)

    def _refuse(self, error: frames.BadFrame) -> None:
        self._connection.send(frames.error_frame(error, error.client_msg_id))
        self._connection.bad_frames += 1
        if self._connection.bad_frames >= MOST_BAD_FRAMES:
            self._connection.end(BROKEN_PROTOCOL, "too many bad frames")

    def _chat(self, chat: frames.Chat) -> Coroutine[Any, Any, None] | None:
        connection, in_flight = self._connection, self._in_flight
        if (refusal := self._over_limits(chat)) is not None:
            connection.send(refusal)
            return None
        send, headers = connection.send, self._headers
        if tracing.maker is not None and (span := tracing.root("chat frame")) is not None:
            send = partial(_answered, span, send)
            headers = {TRACEPARENT: span.traceparent.encode()}
        try:
            record = build_record(connection.user_id, chat, in_flight.address)
            message = record.message
            conversation_id = message.conversation_id
            key = RetryKey(connection.user_id, message.content.client_msg_id)
            if in_flight.join(key, conversation_id, send):
                return None
            token = in_flight.begin(key, conversation_id, send)
        except AppError as error:
            send(frames.error_frame(error, chat.client_msg_id))
            return None
        origin = record.origin
        origin.token, origin.connection_id = token, connection.id
        return self._produce(record, conversation_id, token, headers)

    def _produce(
        self, record: ChatRecord, conversation_id: str, token: int, headers: Mapping[str, bytes]
    ) -> Coroutine[Any, Any, None] | None:
        try:
            room = self._producer.put(
                CHAT_TOPIC,
                conversation_id.encode(),
                record.SerializeToString(),
                headers,
                linger=self._linger_s,
                settled=partial(self._produced, token),
            )
        except BusUnavailable:
            self._in_flight.give_up(token)
            return None
        return None if room is None else self._wait(room, token)

    async def _wait(self, room: Awaitable[None], token: int) -> None:
        try:
            await room
        except BusUnavailable:
            self._in_flight.give_up(token)

    def _linger_s(self) -> float:
        others = len(self._in_flight) - 1
        longest_s = min(MOST_LINGER_S, max(LINGER_S, LINGER_SHARE * self._in_flight.answer_s))
        return min(longest_s, LINGER_EACH_S * others)

    def _over_limits(self, chat: frames.Chat) -> bytes | None:
        """The refusal of one that is over the connection's rate, or that there is no room for. Before
        the work that a message is: refusing costs the others as little as it can. Who goes on over the
        rate all the same is sent away."""
        wait_s = self._rate.take() if self._rate is not None else 0.0
        if wait_s:
            if self._over_rate.take():
                self._connection.end(RATE_IGNORED, "rate limit ignored")
            _OVER_RATE.inc()
            return frames.refusal(
                Code.RATE_LIMITED,
                "too many messages, send it again later",
                chat.client_msg_id,
                retry_after_ms=max(1, int(wait_s * 1000)),
            )
        in_flight, client_msg_id = self._in_flight, chat.client_msg_id
        if in_flight.has_room and not self.is_late:
            return None
        if in_flight.knows(RetryKey(self._connection.user_id, client_msg_id or "")):
            return None
        return in_flight.refusal(client_msg_id)

    def _produced(self, token: int, error: BusUnavailable | None) -> None:
        if error is not None:
            # Not in the producer's turn: what goes wrong with one client must not end there.
            asyncio.get_running_loop().call_soon(self._in_flight.give_up, token)


def _answered(span: tracing.Span, send: Callable[[bytes], None], frame: bytes) -> None:
    """The span of a message lasts until its answer is on its way."""
    answer = frames.decode_answer(frame)
    span.end(answer.code.value if isinstance(answer, AppError) else tracing.OK)
    send(frame)
