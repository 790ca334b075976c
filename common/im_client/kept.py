"""The conversations and last messages that are kept: what is written, and read again."""

from __future__ import annotations

from itertools import pairwise

from im_client.conversation import KEPT, Conversation
from im_client.messages import Message
from im_client.storage import Change, Storage


class Kept:
    def __init__(self, storage: Storage, prefix: str) -> None:
        self._storage = storage
        self._prefix = prefix

    async def conversations(self) -> dict[str, Conversation]:
        beginning = f"{self._prefix}conv/"
        rows = await self._storage.list(beginning)
        ids = [(key.removeprefix(beginning), stored) for key, stored in rows]
        return {name: Conversation.of(name, stored) for name, stored in ids}

    async def messages(
        self, conversation_id: str, *, after_seq: int = 0, limit: int | None = None
    ) -> list[Message]:
        after = self._key(conversation_id, after_seq)
        rows = await self._storage.list(
            self._messages_of(conversation_id), after=after, limit=limit
        )
        return [Message.of(stored) for _, stored in rows]

    async def message(self, conversation_id: str, seq: int) -> Message | None:
        stored = await self._storage.get(self._key(conversation_id, seq))
        return Message.of(stored) if stored else None

    async def older_than(self, conversation: Conversation) -> list[Message]:
        """The newest that reach up to what is known, in one stretch."""
        after_seq = max(0, conversation.next_seq - 1 - KEPT)
        rows = await self.messages(conversation.id, after_seq=after_seq)
        below = [message for message in rows if message.seq < conversation.next_seq]
        seqs = [*(message.seq for message in below), conversation.next_seq]
        holes = [at for at, (seq, following) in enumerate(pairwise(seqs)) if following > seq + 1]
        return below[holes[-1] + 1 if holes else 0 :]

    async def below(self, conversation: Conversation) -> list[Change]:
        """Forgets what nobody asks for any more."""
        first = min(conversation.next_seq, conversation.handled + 1)
        rows = await self._storage.list(self._messages_of(conversation.id), limit=KEPT)
        end = self._key(conversation.id, first)
        return [(key, None) for key, _ in rows if key < end]

    def conversation(self, conversation: Conversation) -> list[Change]:
        # One that is only looked at has nothing to remember.
        if conversation.last_seq == 0 and not conversation.draft:
            return []
        return [(f"{self._prefix}conv/{conversation.id}", conversation.to_stored())]

    def row(self, message: Message) -> Change:
        return self._key(message.conversation_id, message.seq), message.to_stored()

    def no_row(self, message: Message) -> Change:
        return self._key(message.conversation_id, message.seq), None

    async def flag(self, name: str) -> bool:
        return bool(await self._storage.get(f"{self._prefix}{name}"))

    def flagged(self, name: str) -> Change:
        return f"{self._prefix}{name}", True

    async def write(self, changes: list[Change]) -> None:
        if changes:
            await self._storage.write(changes)

    def _messages_of(self, conversation_id: str) -> str:
        return f"{self._prefix}msg/{conversation_id}/"

    def _key(self, conversation_id: str, seq: int) -> str:
        return f"{self._messages_of(conversation_id)}{seq:016d}"
