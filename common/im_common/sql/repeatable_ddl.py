"""Steps of a migration that look at what is there.

On MySQL each step is committed at once, and the number of the version only after the last one: whoever
repeats a migration that was broken off finds some of its steps done.
"""

from __future__ import annotations

from typing import Any

from alembic.ddl.base import AddColumn, DropColumn
from alembic.ddl.mysql import MySQLImpl
from sqlalchemy import Connection, inspect
from sqlalchemy.schema import CreateIndex, CreateTable, DropIndex, DropTable


class RepeatableMysqlImpl(MySQLImpl):
    """What Alembic runs its operations by on MySQL and MariaDB, once this module is imported."""

    __dialect__ = "mysql"

    def _exec(self, construct: Any, *args: Any, **kwargs: Any) -> Any:
        if self.connection is not None and _is_done(self.connection, construct):
            return None
        return super()._exec(construct, *args, **kwargs)


def _is_done(connection: Connection, step: Any) -> bool:
    """Whether the database is as it is to be after the step; False for a step that can be repeated."""
    match step:
        case CreateTable():
            return _has_table(connection, step.element.name)
        case DropTable():
            return not _has_table(connection, step.element.name)
        case CreateIndex():
            return _has_index(connection, step.element)
        case DropIndex():
            return not _has_index(connection, step.element)
        case AddColumn():
            return _has_column(connection, step.table_name, step.column.name)
        case DropColumn():
            return not _has_column(connection, step.table_name, step.column.name)
    return False


def _has_table(connection: Connection, table: str) -> bool:
    return inspect(connection).has_table(table)


def _has_index(connection: Connection, index: Any) -> bool:
    found = inspect(connection).get_indexes(index.table.name)
    return any(one["name"] == index.name for one in found)


def _has_column(connection: Connection, table: str, column: str) -> bool:
    return any(one["name"] == column for one in inspect(connection).get_columns(table))
