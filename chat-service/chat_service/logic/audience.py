"""Whom a receipt is told to."""

from __future__ import annotations

from collections.abc import Sequence

from cachetools import TTLCache

from chat_service.model import members
from im_common.domain.ids import parse_conversation
from im_common.sql.db import Database

# A group with more members gets no receipts: a message would cost the square of their number.
MOST_TOLD = 100
REMEMBER_S = 5.0
MOST_REMEMBERED = 10_000


class Audiences:
    """The members of conversations, those of groups remembered for a moment."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._groups: TTLCache[str, Sequence[int]] = TTLCache(MOST_REMEMBERED, REMEMBER_S)

    async def of(self, conversation_id: str) -> Sequence[int]:
        """All members; nobody when there are too many to tell."""
        users = parse_conversation(conversation_id)
        if isinstance(users, tuple):
            return users
        known = self._groups.get(conversation_id)
        if known is not None:
            return known
        found = await self._db.read(members.of_conversation, conversation_id, limit=MOST_TOLD + 1)
        told: Sequence[int] = found if len(found) <= MOST_TOLD else ()
        self._groups[conversation_id] = told
        return told
