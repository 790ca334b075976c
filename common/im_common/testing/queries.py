"""Counting the queries that a piece of work costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import event
from sqlalchemy.engine import Engine


class Executed(NamedTuple):
    """A statement, as the driver gets it."""

    statement: str
    parameters: Any


@contextmanager
def counted_queries() -> Iterator[list[str]]:
    """The statements that any engine of this process executes in the block, in order."""
    statements: list[str] = []
    with _told(lambda executed: statements.append(executed.statement)):
        yield statements


@contextmanager
def executed_queries() -> Iterator[list[Executed]]:
    """The same with their parameters."""
    queries: list[Executed] = []
    with _told(queries.append):
        yield queries


@contextmanager
def _told(tell: Callable[[Executed], None]) -> Iterator[None]:
    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        tell(Executed(statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", note)
