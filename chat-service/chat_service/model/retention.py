"""Removing old messages, from the beginning of each conversation on."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select, update

from chat_service.model import files
from chat_service.model.messages import Range
from chat_service.model.tables import conversations, deleted_messages, mentions, messages

_c = conversations.c
_t = messages.c


def conversations_after(
    connection: Connection, conversation_id: str, limit: int
) -> list[tuple[str, int]]:
    """The next conversations by id, and up to which seq each has lost its messages."""
    query = select(_c.conversation_id, _c.expired_seq).where(_c.conversation_id > conversation_id)
    query = query.order_by(_c.conversation_id).limit(limit)
    return [(row[0], row[1]) for row in connection.execute(query)]


def ages(
    connection: Connection, conversation_id: str, above: int, limit: int
) -> list[tuple[int, int]]:
    """Seq and time of the oldest messages above a seq."""
    query = select(_t.seq, _t.created_at).where(
        _t.conversation_id == conversation_id, _t.seq > above
    )
    query = query.order_by(_t.seq).limit(limit)
    return [(row[0], row[1]) for row in connection.execute(query)]


def expire(
    connection: Connection, conversation_id: str, above: int, upto: int, *, now: int
) -> None:
    """Removes messages with above < seq <= upto, and remembers that they are gone. Files that nothing
    else uses go a day after ``now``."""
    files.drop_uses(connection, [Range(conversation_id, above, upto)], now=now)
    for table in (messages, deleted_messages, mentions):
        columns = table.c
        connection.execute(
            delete(table).where(
                columns.conversation_id == conversation_id, columns.seq.between(above + 1, upto)
            )
        )
    of_this = _c.conversation_id == conversation_id
    connection.execute(update(conversations).where(of_this).values(expired_seq=upto))
