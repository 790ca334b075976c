"""Table `deeds`: what operators have done; nothing of it is ever changed but the outcome, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Connection, String, Table, insert, select, update

from auth_service.model.credentials import metadata
from im_common.sql.db import MYSQL_TABLE, AutoId, ascii_key

MAX_WHO = 64
MAX_ACTION = 64
MAX_TARGET = 255
MAX_OUTCOME = 64
MAX_REASON = 255

deeds = Table(
    "deeds",
    metadata,
    Column("deed_id", AutoId, primary_key=True, autoincrement=True),
    Column("created_at", BigInteger, nullable=False),
    Column("who", String(MAX_WHO), nullable=False),
    Column("action", ascii_key(MAX_ACTION), nullable=False),
    Column("target", String(MAX_TARGET), nullable=False),
    # Empty while it is not known.
    Column("outcome", ascii_key(MAX_OUTCOME), nullable=False),
    Column("reason", String(MAX_REASON), nullable=False, server_default=""),
    **MYSQL_TABLE,
)
_t = deeds.c


@dataclass(frozen=True, slots=True)
class Deed:
    deed_id: int
    # Unix milliseconds.
    at: int
    who: str
    action: str
    target: str
    outcome: str
    reason: str


def add(connection: Connection, *, who: str, action: str, target: str, reason: str, at: int) -> int:
    """Its id."""
    deed = {"who": who, "action": action, "target": target, "reason": reason}
    result = connection.execute(insert(deeds).values(created_at=at, outcome="", **deed))
    (deed_id,) = result.inserted_primary_key or (0,)
    return int(deed_id)


def end(connection: Connection, deed_id: int, outcome: str) -> None:
    """The first outcome stays."""
    unknown = (_t.deed_id == deed_id, _t.outcome == "")
    connection.execute(update(deeds).where(*unknown).values(outcome=outcome))


def page(
    connection: Connection, wanted: Mapping[str, str], *, below: int | None, limit: int
) -> list[Deed]:
    """Newest first. ``wanted`` has values of columns; an empty one leaves nobody out."""
    query = select(_t.deed_id, _t.created_at, _t.who, _t.action, _t.target, _t.outcome, _t.reason)
    if below is not None:
        query = query.where(_t.deed_id < below)
    for column, value in wanted.items():
        if value:
            query = query.where(_t[column] == value)
    rows = connection.execute(query.order_by(_t.deed_id.desc()).limit(limit))
    return [Deed(*row) for row in rows]
