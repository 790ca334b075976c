"""Queries on which messages of a group its members see, and up to which change that is known.

A group's `roster_seq` is the place of its last change of members. Who asks reads it first: what is read
after it may be newer, and never older.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection, or_, select

from chat_service.model.members import of_keys
from chat_service.model.tables import conversation_members, conversations, messages
from im_common.domain.frames import SYSTEM
from im_common.runtime.chunks import chunks

_c = conversations.c
_m = conversation_members.c
_t = messages.c

# Members whose rows one query reads.
_CHUNK = 1000
# Users whose groups one query reads: with a thousand in its list MariaDB reads all conversations of
# each.
_USERS = 500


class Window(NamedTuple):
    """Messages with min_seq < seq <= left_seq; None for who is a member."""

    min_seq: int
    left_seq: int | None = None


class UserGroup(NamedTuple):
    """A group that a user is a member of."""

    conversation_id: str
    min_seq: int
    roster_seq: int


def roster_seqs(connection: Connection, conversation_ids: Collection[str]) -> dict[str, int]:
    """Of those of the groups of which something was ever written."""
    query = select(_c.conversation_id, _c.roster_seq).where(
        _c.conversation_id.in_(conversation_ids)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def members(connection: Connection, conversation_id: str, *, most: int) -> frozenset[int] | None:
    """Who is a member; None when they are more than ``most``."""
    query = select(_m.user_id).where(_m.conversation_id == conversation_id, _m.left_seq.is_(None))
    found = frozenset(connection.execute(query.limit(most + 1)).scalars())
    return found if len(found) <= most else None


def members_at(
    connection: Connection, conversation_id: str, seq: int
) -> tuple[frozenset[int], frozenset[int]]:
    """Who was one when this message was stored, by their rows; and who came after it, among whom those
    may be who had been members before."""
    since = or_(_m.left_seq.is_(None), _m.left_seq >= seq)
    query = select(_m.user_id, _m.min_seq).where(_m.conversation_id == conversation_id, since)
    found = connection.execute(query).all()
    return (
        frozenset(user_id for user_id, min_seq in found if min_seq < seq),
        frozenset(user_id for user_id, min_seq in found if min_seq >= seq),
    )


def changes(
    connection: Connection, conversation_id: str, after: int, last: int
) -> list[tuple[int, str]]:
    """What the group's history says of its changes after one place, up to another, in order: the place
    and the ``ext`` of each."""
    query = (
        select(_t.seq, _t.ext)
        .where(
            _t.conversation_id == conversation_id,
            _t.seq > after,
            _t.seq <= last,
            _t.content_type == SYSTEM,
        )
        .order_by(_t.seq)
    )
    return [(row[0], row[1] or "{}") for row in connection.execute(query)]


def of_users(
    connection: Connection, conversation_id: str, user_ids: Collection[int]
) -> dict[int, Window]:
    """Of those of the users who are, or were, members."""
    keys = sorted((user_id, conversation_id) for user_id in set(user_ids))
    found: dict[int, Window] = {}
    for some in chunks(keys, _CHUNK):
        query = select(_m.user_id, _m.min_seq, _m.left_seq)
        rows = connection.execute(of_keys(query, some))
        found.update((row[0], Window(row[1], row[2])) for row in rows)
    return found


def groups_of(connection: Connection, user_ids: Collection[int]) -> dict[int, list[UserGroup]]:
    """The groups that users are members of; without users who have none."""
    joined = conversation_members.join(conversations, _m.conversation_id == _c.conversation_id)
    query = (
        select(_m.user_id, _m.conversation_id, _m.min_seq, _c.roster_seq)
        .select_from(joined)
        .where(_m.conversation_id.between("g:", "g:~"), _m.left_seq.is_(None))
    )
    found: dict[int, list[UserGroup]] = defaultdict(list)
    for some in chunks(sorted(user_ids), _USERS):
        for row in connection.execute(query.where(_m.user_id.in_(some))):
            found[row[0]].append(UserGroup(*row[1:]))
    return found
