"""Queries on files: who may see one, and which nothing uses any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Row,
    Select,
    and_,
    delete,
    exists,
    insert,
    or_,
    select,
    union_all,
    update,
)

from chat_service.model.messages import Range, within
from chat_service.model.tables import (
    conversation_members,
    deleted_messages,
    file_avatars,
    file_uses,
    files,
)
from im_common.runtime.chunks import chunks
from im_common.sql.db import Upsert
from im_common.sql.direct import PreparedInsert

_f = files.c
_u = file_uses.c
_a = file_avatars.c
_m = conversation_members.c
_USE = PreparedInsert(insert(file_uses), ["file_id", "conversation_id", "seq"])
_PUT_AVATAR = Upsert(file_avatars, ["file_id", "holder"], lambda _old, new: {"since": new.since})
# So many pairs of a user and a file are looked up by one query.
_PAIRS = 50

# So long a file waits for something to use it, and again after the last that used it is gone.
UNUSED_MS = 24 * 3600 * 1000
# Between the two looks that end a file: longer than a batch of messages takes from its look at the
# files that it names to its commit.
ENDING_MS = 600_000

# A user, and a file that the user would see.
Wish = tuple[int, str]


class Kind(NamedTuple):
    """What is found out about a file when its bytes are there."""

    size: int
    content_type: str
    width: int
    height: int
    thumbnail_size: int


def create(connection: Connection, file_id: str, *, owner_id: int, now: int) -> None:
    """Without bytes yet; what stays so is found when the time to look has come."""
    row = {
        "file_id": file_id,
        "owner_id": owner_id,
        "size": None,
        "content_type": "",
        "width": 0,
        "height": 0,
        "thumbnail_size": 0,
        "created_at": now,
        "look_at": now + UNUSED_MS,
        "is_ending": False,
    }
    connection.execute(insert(files), [row])


def finish(connection: Connection, file_id: str, kind: Kind) -> bool:
    """False for a file that is not there (any more)."""
    going = and_(_f.file_id == file_id, _f.is_ending.is_(False))
    connection.execute(update(files).where(going, _f.size.is_(None)).values(kind._asdict()))
    # Not by the number of rows: the same once more changes none.
    there = select(_f.file_id).where(going, _f.size == kind.size)
    return connection.execute(there).first() is not None


def find(connection: Connection, file_id: str) -> Row[Any] | None:
    return connection.execute(select(files).where(_f.file_id == file_id)).first()


def visible(connection: Connection, wishes: Collection[Wish]) -> set[Wish]:
    """Those of the wishes that can be fulfilled: the user has uploaded the file, it is a picture of
    somebody, or it is in a message that the user can read in a history."""
    public = exists().where(_a.file_id == _f.file_id)
    query = select(_f.file_id, _f.owner_id, public).where(
        _f.file_id.in_({file_id for _, file_id in wishes}),
        _f.size.is_not(None),
        _f.is_ending.is_(False),
    )
    there = {row[0]: (row[1], row[2]) for row in connection.execute(query)}
    seen: set[Wish] = set()
    doubtful: list[Wish] = []
    for user_id, file_id in sorted(set(wishes)):
        if file_id in there:
            owner_id, is_public = there[file_id]
            (seen.add if is_public or owner_id == user_id else doubtful.append)((user_id, file_id))
    for some in chunks(doubtful, _PAIRS):
        parts = [select(_read_by(*wish).subquery()) for wish in some]
        seen |= {(row[0], row[1]) for row in connection.execute(union_all(*parts))}
    return seen


def _read_by(user_id: int, file_id: str) -> Select[Any]:
    """A row when the user can read a message that names the file, as in ``logic.history``."""
    d = deleted_messages.c
    member = and_(_m.user_id == user_id, _m.conversation_id == _u.conversation_id)
    gone = and_(d.conversation_id == _u.conversation_id, d.seq == _u.seq, d.user_id == user_id)
    return (
        select(_m.user_id, _u.file_id)
        .select_from(file_uses)
        .join(conversation_members, member)
        .outerjoin(deleted_messages, gone)
        .with_hint(deleted_messages, "FORCE INDEX (PRIMARY)", "mysql")
        .where(
            _u.file_id == file_id,
            _u.seq > _m.min_seq,
            or_(_m.left_seq.is_(None), _u.seq <= _m.left_seq),
            d.user_id.is_(None),
        )
        .limit(1)
    )


def add_uses(connection: Connection, rows: Iterable[tuple[str, str, int]]) -> None:
    """``rows`` are file, conversation and seq. Done at the end of the transaction at the latest."""
    if new := list(rows):
        _USE.put_off(connection, new)


def drop_uses(connection: Connection, ranges: Sequence[Range], *, now: int) -> None:
    """For messages that are taken back or removed."""
    in_these = within(ranges, file_uses)
    used = sorted({row[0] for row in connection.execute(select(_u.file_id).where(in_these))})
    if used:
        connection.execute(delete(file_uses).where(in_these))
        _look_later(connection, used, now)


def put_avatar(connection: Connection, file_id: str, holder: str, *, now: int, most: int) -> None:
    """Keeps the ``most`` newest of a holder: who is not told that the new one was taken has an older
    one."""
    row = {"file_id": file_id, "holder": holder, "since": now}
    _PUT_AVATAR.execute(connection, [row])
    held = select(_a.file_id).where(_a.holder == holder).order_by(_a.since.desc(), _a.file_id)
    old = [row[0] for row in connection.execute(held)][most:]
    if old:
        connection.execute(delete(file_avatars).where(_a.holder == holder, _a.file_id.in_(old)))
        _look_later(connection, old, now)


def take_unused(connection: Connection, *, now: int, limit: int) -> list[str]:
    """Looks at those whose time has come. One that nothing uses ends: first it can be used no more,
    and at the next look, when what began to use it meanwhile is stored, it is in the result, and
    again at each look until it is forgotten."""
    due = select(_f.file_id, _f.is_ending).where(_f.look_at <= now)
    # Locked first: who drops a use at this moment says when to look before or after.
    due = due.order_by(_f.look_at).limit(limit).with_for_update()
    found = {row[0]: bool(row[1]) for row in connection.execute(due)}
    used = _used(connection, found)
    unused = sorted(found.keys() - used)
    if used:
        change = update(files).where(_f.file_id.in_(sorted(used)))
        connection.execute(change.values(look_at=None, is_ending=False))
    if unused:
        change = update(files).where(_f.file_id.in_(unused))
        connection.execute(change.values(look_at=now + ENDING_MS, is_ending=True))
    return [file_id for file_id in unused if found[file_id]]


def forget(connection: Connection, file_ids: Collection[str]) -> None:
    """Those of the files that are ending."""
    ending = _f.file_id.in_(sorted(set(file_ids))), _f.is_ending.is_(True)
    connection.execute(delete(files).where(*ending))


def _used(connection: Connection, file_ids: Collection[str]) -> set[str]:
    if not file_ids:
        return set()
    ids = sorted(file_ids)
    by_messages = select(_u.file_id).where(_u.file_id.in_(ids)).distinct()
    by_holders = select(_a.file_id).where(_a.file_id.in_(ids))
    return {row[0] for query in (by_messages, by_holders) for row in connection.execute(query)}


def _look_later(connection: Connection, file_ids: Collection[str], now: int) -> None:
    """Whether they were to be looked at sooner or not: the rows must be locked until it is certain that
    the use is gone."""
    change = update(files).where(_f.file_id.in_(sorted(file_ids)))
    connection.execute(change.values(look_at=now + UNUSED_MS))
