"""The messages that the application has not done with, over restarts."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from im_client.conversation import Conversation
from im_client.errors import ImError
from im_client.kept import Kept
from im_client.messages import Message
from im_client.parts import Turns

_FLAG = "reader"
# So many are read at once.
_AHEAD = 20


class Unhandled:
    def __init__(self, kept: Kept, turns: Turns, conversations: Mapping[str, Conversation]) -> None:
        self._kept = kept
        self._turns = turns
        self._conversations = conversations
        self._ahead: deque[Message] = deque()
        # Where to look for more; a dict for its order.
        self._where: dict[str, None] = {}
        self._changed = asyncio.Event()
        self._end: BaseException | None = None
        # Whether anybody ever asked; from then on nothing is forgotten that was not handled.
        self.is_wanted = False

    async def load(self) -> None:
        self.is_wanted = await self._kept.flag(_FLAG)
        if not self.is_wanted:
            for conversation in self._conversations.values():
                conversation.handled = conversation.cursor

    async def begin(self) -> None:
        if not self.is_wanted:
            self.is_wanted = True
            await self._turns.take(self._want())
        self._ahead.clear()
        self._where = {
            one.id: None for one in self._conversations.values() if one.handled < one.cursor
        }

    async def _want(self) -> None:
        changes = [self._kept.flagged(_FLAG)]
        for conversation in self._conversations.values():
            changes += self._kept.conversation(conversation)
        await self._kept.write(changes)

    def note(self, message: Message) -> None:
        """There is a new one, and it is stored."""
        self._where[message.conversation_id] = None
        self._changed.set()

    def forget_ahead(self) -> None:
        """One of them was taken back, perhaps: they are read again."""
        for message in self._ahead:
            self._where[message.conversation_id] = None
        self._ahead.clear()

    def end(self, error: BaseException) -> None:
        """Nothing comes any more."""
        self._end = error
        self._changed.set()

    async def next(self) -> Message:
        """Waits for it. Raises SessionEnded, or what ended the client."""
        while not self._ahead:
            if self._end:
                raise self._end if isinstance(self._end, ImError) else ImError(str(self._end))
            self._changed.clear()
            if self._where:
                await self._look(next(iter(self._where)))
            else:
                await self._changed.wait()
        return self._ahead.popleft()

    async def _look(self, conversation_id: str) -> None:
        conversation = self._conversations[conversation_id]
        del self._where[conversation_id]
        after_seq, cursor = conversation.handled, conversation.cursor
        found = await self._kept.messages(conversation_id, after_seq=after_seq, limit=_AHEAD)
        if len(found) == _AHEAD:
            self._where[conversation_id] = None
        self._ahead.extend(message for message in found if message.seq <= cursor)

    async def done(self, message: Message) -> None:
        await self._turns.take(self._done(message))

    async def _done(self, message: Message) -> None:
        conversation = self._conversations[message.conversation_id]
        conversation.handled = max(conversation.handled, message.seq)
        changes = self._kept.conversation(conversation)
        if message.seq < conversation.next_seq:
            changes.append(self._kept.no_row(message))
        await self._kept.write(changes)
