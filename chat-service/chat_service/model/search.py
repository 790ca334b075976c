"""The one query of the search: a bounded part of a user's messages is looked through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, func, select

from chat_service.model.messages import undeleted
from chat_service.model.tables import NORMAL, conversation_members, messages

_t = messages.c
_m = conversation_members.c

# Not a column but an expression: an index on message_id must not tempt the database to walk
# through everybody's messages in their order.
_by_time = _t.message_id + ""


class Stretch(NamedTuple):
    """Conversations from ``first`` to ``last`` by id, and of them the messages with
    above < seq <= upto (0: all)."""

    first: str
    last: str
    above: int = 0
    upto: int = 0


def find(
    connection: Connection,
    user_id: int,
    stretch: Stretch,
    words: Sequence[str],
    *,
    before_id: str,
    limit: int,
) -> list[Row[Any]]:
    """The newest messages with all the words that the user may see, older than ``before_id`` if it
    is not empty. A letter's case does not matter (on SQLite that holds for ASCII)."""
    mine = and_(
        _m.user_id == user_id,
        _m.left_seq.is_(None),
        _m.conversation_id.between(stretch.first, stretch.last),
    )
    seen = and_(
        _t.conversation_id == _m.conversation_id,
        _t.seq > _m.min_seq,
        _t.seq > stretch.above,
        _t.status == NORMAL,
    )
    key = select(_t.conversation_id, _t.seq, _by_time.label("by_time"))
    query = undeleted(
        key.select_from(messages).join(conversation_members, seen).where(mine), user_id
    )
    for word in words:
        # Not LIKE: for SQLite that ends at the first NUL of a text or pattern.
        query = query.where(func.instr(func.lower(_t.content), func.lower(word)) > 0)
    if stretch.upto:
        query = query.where(_t.seq <= stretch.upto)
    if before_id:
        query = query.where(_by_time < before_id)
    # Keys alone are sorted, and the rows of the page joined to them: to sort what was said takes
    # several times as long.
    page = query.order_by(_by_time.desc()).limit(limit).subquery("page")
    at_place = and_(_t.conversation_id == page.c.conversation_id, _t.seq == page.c.seq)
    rows = select(messages).select_from(page).join(messages, at_place)
    return list(connection.execute(rows.order_by(page.c.by_time.desc())))
