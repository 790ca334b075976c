"""What connections tell chat-service in passing, collected and told in one call.

A client acks every message: of all acks of some milliseconds only the highest for each user and
conversation counts.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from im.chat.v1 import chat_pb2 as pb
from im_common.domain.call_limits import MOST_MOVES
from im_common.domain.frames import Ack, Read, error_frame
from im_common.domain.ids import MAX_ID, check_id, parse_conversation
from im_common.errors import AppError, Code, invalid
from ws_gateway.logic.connection import Connection

if TYPE_CHECKING:
    from im.chat.v1.chat_pb2_grpc import ChatServiceAsyncStub

log = structlog.get_logger(__name__)

COLLECT_S = 0.05
RETRY_S = 0.5
# What a connection may say of typing: so often for long, so many at once.
TYPING_EVERY_S = 0.5
TYPING_BURST = 5
# What waits beyond this while chat-service is away is dropped; a later ack makes up for it.
MOST_WAITING = 50_000


@dataclass(slots=True)
class _Move:
    connection: Connection
    delivered_seq: int
    read_seq: int
    # Of the newest frame, for a refusal.
    client_msg_id: str | None


class Relay:
    """Cursors and typing of all connections of this gateway on their way to chat-service."""

    def __init__(self, chat: ChatServiceAsyncStub) -> None:
        self._chat = chat
        # host:port of this instance's PushService.
        self.address = ""
        self._moves: dict[tuple[int, str], _Move] = {}
        # By user, other user and group.
        self._typing: dict[tuple[int, int, int], pb.Typing] = {}
        self._wake = asyncio.Event()

    def advance(self, connection: Connection, frame: Ack | Read) -> None:
        """Takes a cursor along. Raises AppError for what is wrong at first sight."""
        _check(frame.conversation_id, frame.seq)
        delivered, read = (frame.seq, 0) if isinstance(frame, Ack) else (0, frame.seq)
        key = (connection.user_id, frame.conversation_id)
        waiting = self._moves.get(key)
        if waiting is not None:
            waiting.connection = connection
            waiting.delivered_seq = max(waiting.delivered_seq, delivered)
            waiting.read_seq = max(waiting.read_seq, read)
            waiting.client_msg_id = frame.client_msg_id
        elif len(self._moves) < MOST_WAITING:
            self._moves[key] = _Move(connection, delivered, read, frame.client_msg_id)
            self._wake.set()

    def typing(self, connection: Connection, to: int | None, group_id: int | None) -> None:
        """Takes it along unless this connection says so too often. Raises AppError."""
        if (to is None) == (group_id is None):
            raise invalid("to", "or group_id must be given, and not both")
        target = check_id("to", to) if to is not None else check_id("group_id", group_id or 0)
        if to == connection.user_id:
            raise invalid("to", "must be another user")
        # A bucket that empties at a steady rate: what would make it overflow is dropped unanswered.
        now = time.monotonic()
        level = max(connection.typing_until, now)
        if level - now > (TYPING_BURST - 1) * TYPING_EVERY_S or len(self._typing) >= MOST_MOVES:
            return
        connection.typing_until = level + TYPING_EVERY_S
        user_id = connection.user_id
        if to is not None:
            self._typing[user_id, to, 0] = pb.Typing(user_id=user_id, to_user_id=target)
        else:
            self._typing[user_id, 0, target] = pb.Typing(user_id=user_id, group_id=target)
        self._wake.set()

    async def run(self) -> None:
        """Tells for ever. When chat-service is away the cursors wait, and merge with newer ones."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(COLLECT_S)
            self._wake.clear()
            try:
                await self.flush()
            except AppError as error:
                log.warning("cursors wait", error=error.message)
                await asyncio.sleep(RETRY_S)

    async def flush(self) -> None:
        """Raises AppError when chat-service is away; no cursor is lost by that."""
        typing, self._typing = list(self._typing.values()), {}
        if typing:
            request = pb.RelayTypingRequest(typing=typing, gateway=self.address)
            with suppress(AppError):
                await self._chat.RelayTyping(request)
        while self._moves:
            batch = dict(itertools.islice(self._moves.items(), MOST_MOVES))
            for key in batch:
                del self._moves[key]
            try:
                await self._tell(batch)
            except AppError as error:
                if error.traits.retryable:
                    self._put_back(batch)
                raise

    async def _tell(self, batch: dict[tuple[int, str], _Move]) -> None:
        moves = [
            pb.CursorMove(
                user_id=user_id,
                conversation_id=conversation_id,
                delivered_seq=move.delivered_seq,
                read_seq=move.read_seq,
                connection_id=move.connection.id,
            )
            for (user_id, conversation_id), move in batch.items()
        ]
        request = pb.AdvanceCursorsRequest(moves=moves, gateway=self.address)
        answer = await self._chat.AdvanceCursors(request)
        for refusal in answer.refusals:
            move = batch[refusal.user_id, refusal.conversation_id]
            error = AppError(Code(refusal.code), refusal.message)
            move.connection.send(error_frame(error, move.client_msg_id))

    def _put_back(self, batch: dict[tuple[int, str], _Move]) -> None:
        for key, move in batch.items():
            newer = self._moves.setdefault(key, move)
            newer.delivered_seq = max(newer.delivered_seq, move.delivered_seq)
            newer.read_seq = max(newer.read_seq, move.read_seq)
        self._wake.set()


def _check(conversation_id: str, seq: int) -> None:
    if parse_conversation(conversation_id) is None:
        raise invalid("conversation_id", "is not the id of a conversation")
    if not 0 <= seq <= MAX_ID:
        raise invalid("seq", "must be a 64-bit number, not negative")
