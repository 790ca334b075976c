"""Frames that chat-service answers: each in a task of its own, so that the frames behind it need not
wait."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from im.chat.v1 import chat_pb2 as pb
from im_common.domain import frames
from im_common.domain.call_limits import MOST_SYNCED
from im_common.domain.content import Given
from im_common.domain.ids import MAX_ID
from im_common.errors import AppError, Code, invalid
from im_common.runtime.faults import report
from im_common.runtime.tasks import end

if TYPE_CHECKING:
    from im.chat.v1.chat_pb2_grpc import ChatServiceAsyncStub
    from ws_gateway.logic.connection import Connection

# Of one connection.
MOST_AT_ONCE = 8


class Requests:
    """What one connection has asked and not been answered yet; ``close`` ends it."""

    def __init__(self, connection: Connection, chat: ChatServiceAsyncStub) -> None:
        self._connection = connection
        self._chat = chat
        self._tasks: set[asyncio.Task[None]] = set()

    def sync(self, frame: frames.Sync) -> None:
        """Raises AppError for what is wrong at first sight, or too many requests at once."""
        if not 1 <= frame.limit <= MOST_SYNCED:
            raise invalid("limit", f"must be 1 to {MOST_SYNCED}")
        if not all(0 <= seq <= MAX_ID for seq in frame.cursors.values()):
            raise invalid("cursors", "must be numbers that are not negative")
        self._begin(self._sync(frame), frame.client_msg_id)

    def recall(self, frame: frames.Recall) -> None:
        """The answer is the `recalled` that everybody gets, or an error. Raises as ``sync``."""
        self._begin(self._recall(frame), frame.client_msg_id)

    async def close(self) -> None:
        await end(*self._tasks)

    def _begin(self, work: Coroutine[Any, Any, None], client_msg_id: str | None) -> None:
        if len(self._tasks) >= MOST_AT_ONCE:
            work.close()
            raise AppError(Code.RATE_LIMITED, "too many requests at once", retry_after_ms=1000)
        task = asyncio.create_task(self._answer(work, client_msg_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, work: Coroutine[Any, Any, None], client_msg_id: str | None) -> None:
        try:
            await work
        except AppError as error:
            self._connection.send(frames.error_frame(error, client_msg_id))
        except Exception as error:
            report(error, "request failed", user_id=self._connection.user_id)
            internal = AppError(Code.INTERNAL, "internal error")
            self._connection.send(frames.error_frame(internal, client_msg_id))

    async def _sync(self, frame: frames.Sync) -> None:
        request = pb.SyncForRequest(
            user_id=self._connection.user_id, cursors=frame.cursors, limit=frame.limit
        )
        answer = await self._chat.SyncFor(request)
        deltas = [_delta(delta) for delta in answer.conversations]
        synced = frames.Synced(conversations=deltas, has_more=answer.has_more)
        self._connection.send(frames.encode(synced))

    async def _recall(self, frame: frames.Recall) -> None:
        await self._chat.RecallFor(
            pb.RecallForRequest(user_id=self._connection.user_id, message_id=frame.message_id)
        )


def _delta(delta: pb.ConversationDelta) -> frames.Delta:
    return frames.Delta(
        conversation_id=delta.conversation_id,
        last_seq=delta.last_seq,
        read_seq=delta.read_seq,
        unread=delta.unread,
        messages=[_message(message) for message in delta.messages],
    )


def _message(message: pb.Message) -> frames.Message:
    return Given.of(message.content).frame(
        message_id=message.message_id,
        conversation_id=message.conversation_id,
        seq=message.seq,
        from_=message.from_user_id,
        to=message.to_user_id,
        group_id=message.group_id,
        timestamp=message.timestamp,
        for_sender=True,
        recalled=message.recalled,
    )
