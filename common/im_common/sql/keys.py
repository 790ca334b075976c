"""Conditions on keys of several columns, in the words for which each database uses its index."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    and_,
    bindparam,
    false,
    or_,
    text,
    tuple_,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class _Either(FunctionElement[bool]):
    """One condition in two wordings: MySQL's and SQLite's."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> ColumnElement[bool]:  # type: ignore[override]
        """As it is: SQLAlchemy would compare it with 1 on SQLite, which no index serves."""
        return self


@compiles(_Either)
def _on_mysql(element: _Either, compiler: Any, **options: Any) -> str:
    on_mysql, _ = element.clauses
    return f"({compiler.process(on_mysql, **options)})"


@compiles(_Either, "sqlite")
def _on_sqlite(element: _Either, compiler: Any, **options: Any) -> str:
    _, on_sqlite = element.clauses
    return f"({compiler.process(on_sqlite, **options)})"


def is_one_of(
    key: Sequence[Column[Any]], rows: Collection[tuple[Any, ...]] | BindParameter[Any]
) -> ColumnElement[bool]:
    """``key``, which begins an index, is one of the rows (or of an expanding parameter's, which
    must have some).

    SQLite reads the whole table for `(a, b) IN (VALUES …)`, or by the first column alone.
    """
    if isinstance(rows, BindParameter):
        values: BindParameter[Any] = rows
    elif not rows:
        return false()
    else:
        values = bindparam("keys", list(rows), expanding=True)
    table = key[0].table.name
    equal = " AND ".join(f"of.{c.name} = asked.column{n}" for n, c in enumerate(key, 1))
    # Names of the model alone.
    found = f"SELECT of.rowid FROM :{values.key} AS asked CROSS JOIN {table} AS of ON {equal}"  # noqa: S608
    on_sqlite = text(f"{table}.rowid IN ({found})").bindparams(values)
    return _Either(tuple_(*key).in_(values), on_sqlite)


def is_beyond(
    key: Sequence[ColumnElement[Any]], values: Sequence[Any], *, descending: bool = False
) -> ColumnElement[bool]:
    """``key``, the end of an index, comes after the values in the order of the index: how a page goes
    on. MySQL uses no index for `(a, b) > (1, 2)`."""
    row = tuple_(*key)
    on_sqlite = row < tuple(values) if descending else row > tuple(values)
    cases = []
    for n, (column, value) in enumerate(zip(key, values, strict=True)):
        equal = [c == v for c, v in zip(key[:n], values[:n], strict=True)]
        cases.append(and_(*equal, column < value if descending else column > value))
    return _Either(or_(*cases), on_sqlite)
