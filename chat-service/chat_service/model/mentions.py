"""Queries on who is mentioned where: a row for each member who is named, one for all of a group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Connection, FromClause, and_, func, insert, select

from chat_service.model.messages import Range, within
from chat_service.model.tables import EVERYBODY, deleted_messages, mentions
from im_common.domain.content import Given
from im_common.sql.direct import PreparedInsert

_n = mentions.c
_INSERT = PreparedInsert(insert(mentions), ["conversation_id", "seq", "user_id"])


def mentioned(content: Given, *, by: int) -> list[int]:
    """Whom a message needs rows for."""
    if content.mentions_all:
        return [EVERYBODY]
    return sorted(set(content.mentions) - {by}) if content.mentions else []


def add(connection: Connection, rows: Iterable[tuple[str, int, int]]) -> None:
    """``rows`` are conversation, seq and user. Done at the end of the transaction at the latest."""
    if new := list(rows):
        _INSERT.put_off(connection, new)


def oldest(connection: Connection, user_id: int, ranges: Sequence[Range]) -> dict[str, int]:
    """The first seq of each range that mentions the user, of those ranges that have one, by one query.
    It costs what the ranges have of the user's mentions. What was taken back, or the user has deleted,
    mentions nobody."""
    if not ranges:
        return {}
    query = (
        select(_n.conversation_id, func.min(_n.seq))
        .where(_n.user_id.in_((EVERYBODY, user_id)), within(ranges, mentions))
        .group_by(_n.conversation_id)
        # The primary key would find others' mentions.
        .with_hint(mentions, "FORCE INDEX (ix_mentions_user)", "mysql")
    )
    for whose in (EVERYBODY, user_id):
        # Two look-ups of a key each; by the other index it would be all that the user has deleted.
        gone = deleted_messages.alias()
        query = query.outerjoin(gone, _is_gone(gone, whose)).where(gone.c.user_id.is_(None))
        query = query.with_hint(gone, "FORCE INDEX (PRIMARY)", "mysql")
    return {row[0]: row[1] for row in connection.execute(query)}


def _is_gone(deleted: FromClause, whose: int) -> ColumnElement[bool]:
    d = deleted.c
    return and_(d.conversation_id == _n.conversation_id, d.seq == _n.seq, d.user_id == whose)
