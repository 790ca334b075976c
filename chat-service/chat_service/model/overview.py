"""Queries on all conversations of one user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    ScalarSelect,
    Select,
    and_,
    case,
    func,
    or_,
    select,
)

from chat_service.model.tables import (
    EVERYBODY,
    conversation_members,
    conversations,
    deleted_messages,
)

_c = conversations.c
_m = conversation_members.c


class Standing(NamedTuple):
    """A conversation as one of its members has it."""

    conversation_id: str
    type: int
    newest_seq: int
    expired_seq: int
    skipped: int
    skipped_seq: int
    last_message_at: int
    read_seq: int
    min_seq: int
    left_seq: int | None
    pinned: bool
    muted: bool
    # Of the messages after the cursor: those that the member has deleted, or somebody has recalled.
    gone: int

    @property
    def last_seq(self) -> int:
        """The newest message that the member may see."""
        return self.newest_seq if self.left_seq is None else self.left_seq

    @property
    def hidden_seq(self) -> int:
        """Nothing up to here is there for the member."""
        return max(self.min_seq, self.expired_seq)

    @property
    def seen_seq(self) -> int:
        """What comes after is unread."""
        return max(self.read_seq, self.hidden_seq)

    @property
    def unread(self) -> int:
        return max(0, self.last_seq - self.seen_seq - self.gone - self._unread_skipped)

    @property
    def _unread_skipped(self) -> int:
        first = max(self.seen_seq, self.skipped_seq - self.skipped)
        return max(0, min(self.last_seq, self.skipped_seq) - first)


class After(NamedTuple):
    """The last conversation of a page."""

    pinned: bool
    last_message_at: int
    conversation_id: str


def of_user(connection: Connection, user_id: int) -> list[Standing]:
    """All, newest activity first, those that the user has left included."""
    query = _standings(user_id).order_by(_c.last_message_at.desc(), _c.conversation_id.desc())
    return [Standing(*row) for row in connection.execute(query)]


def page_of_user(
    connection: Connection, user_id: int, *, after: After | None, limit: int
) -> list[Standing]:
    """Pinned first, then newest activity first; without those that the user has left."""
    query = _standings(user_id).where(_m.left_seq.is_(None))
    if after is not None:
        older = or_(
            _c.last_message_at < after.last_message_at,
            and_(
                _c.last_message_at == after.last_message_at,
                _c.conversation_id < after.conversation_id,
            ),
        )
        same = and_(_m.pinned.is_(after.pinned), older)
        query = query.where(or_(_m.pinned.is_(False), same) if after.pinned else same)
    query = query.order_by(
        _m.pinned.desc(), _c.last_message_at.desc(), _c.conversation_id.desc()
    ).limit(limit)
    return [Standing(*row) for row in connection.execute(query)]


def one(connection: Connection, user_id: int, conversation_id: str) -> Standing | None:
    """None when the user has no row in it, or nothing was ever written."""
    if not conversation_id.isascii():
        return None
    query = _standings(user_id).where(_m.conversation_id == conversation_id)
    row = connection.execute(query).first()
    return Standing(*row) if row is not None else None


def _standings(user_id: int) -> Select[Any]:
    columns: Sequence[Any] = (
        _c.conversation_id,
        _c.type,
        _c.last_seq,
        _c.expired_seq,
        _c.skipped,
        _c.skipped_seq,
        _c.last_message_at,
        _m.read_seq,
        _m.min_seq,
        _m.left_seq,
        _m.pinned,
        _m.muted,
        case((_m.read_seq < _c.last_seq, _gone(user_id)), else_=0),
    )
    joined = conversation_members.join(conversations, _m.conversation_id == _c.conversation_id)
    return select(*columns).select_from(joined).where(_m.user_id == user_id)


def _gone(user_id: int) -> ColumnElement[int]:
    """Looked for only where something is unread: what the member has deleted, and what was recalled of
    the rest. By one user each, as an index has them; for both at once MariaDB reads what anybody has
    deleted of the conversation."""
    own, recalled = deleted_messages.alias("own_deleted"), deleted_messages.alias("recalled")
    both = deleted_messages.alias("own_recalled")
    of_own = and_(
        both.c.conversation_id == recalled.c.conversation_id,
        both.c.seq == recalled.c.seq,
        both.c.user_id == user_id,
    )
    rest = recalled.outerjoin(both, of_own)
    return _count(own, own, user_id) + _count(recalled, rest, EVERYBODY, both.c.user_id.is_(None))


def _count(
    deleted: FromClause, source: FromClause, user_id: int, *more: ColumnElement[bool]
) -> ScalarSelect[int]:
    d = deleted.c
    after = (_m.read_seq, _m.min_seq, _c.expired_seq)
    return (
        select(func.count())
        .select_from(source)
        .where(
            d.user_id == user_id,
            d.conversation_id == _m.conversation_id,
            *(d.seq > bound for bound in after),
            d.seq <= func.coalesce(_m.left_seq, _c.last_seq),
            *more,
        )
        .with_hint(deleted, "FORCE INDEX (ix_deleted_messages_user)", "mysql")
        .correlate(conversation_members, conversations)
        .scalar_subquery()
    )
