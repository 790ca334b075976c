"""What each client frame does."""

from __future__ import annotations

import asyncio
from functools import partial

from im.chat.v1.record_pb2 import Origin
from im_common import frames, metrics
from im_common.bus import BusUnavailable, Producer
from im_common.context import TRACEPARENT, new_traceparent
from im_common.errors import AppError, Code
from im_common.in_flight import InFlight
from im_common.rate import Bucket
from im_common.submission import build_record
from im_common.topics import CHAT_TOPIC
from ws_gateway.logic.connection import BROKEN_PROTOCOL, RATE_IGNORED, Connection
from ws_gateway.logic.offline import Drain
from ws_gateway.logic.relay import Relay
from ws_gateway.logic.requests import Requests

# So many bad frames in a row, and the connection ends.
MOST_BAD_FRAMES = 32
# So many messages over its rate at once, and so many a second for long, and the connection ends.
MOST_OVER_RATE = 1_000
OVER_RATE_PER_S = 50
# A message may wait for others to share its request to the bus: not at all when it is the only one
# without an answer here, and the longer, the more there are.
LINGER_EACH_S = 0.001
MOST_LINGER_S = 0.005


class Inbound:
    """The frames of one connection, in the order in which they came."""

    def __init__(
        self,
        connection: Connection,
        drain: Drain,
        in_flight: InFlight,
        producer: Producer,
        gateway: str,
        *,
        relay: Relay,
        requests: Requests,
        rate: Bucket | None = None,
    ) -> None:
        """``rate`` bounds the messages of this connection; None for no bound."""
        self._connection = connection
        self._drain = drain
        self._in_flight = in_flight
        self._rate = rate
        self._over_rate = Bucket(OVER_RATE_PER_S, MOST_OVER_RATE)
        self._producer = producer
        self._gateway = gateway
        self._relay = relay
        self._requests = requests
        self._headers = {TRACEPARENT: new_traceparent().encode()}

    async def handle(self, text: str | bytes) -> None:
        """Takes one frame. Waits only for room in the bus's buffer."""
        try:
            if isinstance(text, bytes):
                raise frames.BadFrame("a frame must be text", None, None)
            frame = frames.decode(text)
        except frames.BadFrame as error:
            self._refuse(error)
            return
        self._connection.bad_frames = 0
        if isinstance(frame, frames.Chat):
            await self._chat(frame)
            return
        try:
            self._take(frame)
        except AppError as error:
            self._connection.send(frames.error_frame(error))

    def _take(self, frame: frames.AnyClientFrame) -> None:
        if isinstance(frame, frames.Ack):
            self._relay.advance(self._connection, frame.conversation_id, delivered=frame.seq)
        elif isinstance(frame, frames.Read):
            self._relay.advance(self._connection, frame.conversation_id, read=frame.seq)
        elif isinstance(frame, frames.Sync):
            self._requests.sync(frame)
        elif isinstance(frame, frames.Recall):
            self._requests.recall(frame)
        elif isinstance(frame, frames.Typing):
            self._relay.typing(self._connection, frame.to, frame.group_id)
        elif isinstance(frame, frames.Ping):
            self._connection.send(frames.PONG)
        elif isinstance(frame, frames.OfflineAck):
            self._drain.confirm(frame.batch_id)

    def _refuse(self, error: frames.BadFrame) -> None:
        self._connection.send(frames.error_frame(error, error.client_msg_id))
        self._connection.bad_frames += 1
        if self._connection.bad_frames >= MOST_BAD_FRAMES:
            self._connection.end(BROKEN_PROTOCOL, "too many bad frames")

    async def _chat(self, chat: frames.Chat) -> None:
        connection = self._connection
        try:
            self._check_rate()
            key = (connection.user_id, chat.client_msg_id or "")
            if not self._in_flight.has_room and not self._in_flight.knows(key):
                # Before the work that a message is: refusing costs the others as little as it can.
                connection.send(self._in_flight.refusal(chat.client_msg_id))
                return
            record = build_record(connection.user_id, chat, Origin(address=self._gateway))
            message, origin = record.message, record.origin
            key, conversation_id = (key[0], message.client_msg_id), message.conversation_id
            if self._in_flight.join(key, conversation_id, connection.send):
                return
            token = self._in_flight.begin(key, conversation_id, connection.send)
        except AppError as error:
            connection.send(frames.error_frame(error, chat.client_msg_id))
            return
        origin.token, origin.connection_id = token, connection.id
        try:
            future = await self._producer.enqueue(
                CHAT_TOPIC,
                message.conversation_id.encode(),
                record.SerializeToString(),
                self._headers,
                linger_s=min(MOST_LINGER_S, LINGER_EACH_S * (len(self._in_flight) - 1)),
            )
        except BusUnavailable:
            self._in_flight.give_up(token)
        else:
            future.add_done_callback(partial(self._produced, token))

    def _check_rate(self) -> None:
        """Raises AppError RATE_LIMITED; who goes on all the same is sent away."""
        wait_s = self._rate.take() if self._rate is not None else 0.0
        if not wait_s:
            return
        if self._over_rate.take():
            self._connection.end(RATE_IGNORED, "rate limit ignored")
        metrics.REFUSED.labels("rate").inc()
        raise AppError(
            Code.RATE_LIMITED,
            "too many messages, send it again later",
            retry_after_ms=max(1, int(wait_s * 1000)),
        )

    def _produced(self, token: int, future: asyncio.Future[None]) -> None:
        if future.cancelled() or future.exception() is not None:
            self._in_flight.give_up(token)
