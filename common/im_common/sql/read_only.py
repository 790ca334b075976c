"""A server that takes no writes any more, as a primary after a planned failover and a node of Galera
that has lost the others: its connections are left.

It lives on as a replica and answers every query, with what it had. The name, or the proxy, that leads
to the primary leads to another server by then; a new connection finds that one.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import InvalidatePoolError

# The option --read-only (or --super-read-only), a session made so, InnoDB made so; "WSREP has not yet
# prepared node for application use", which Galera says to queries, too.
READ_ONLY = frozenset((1290, 1792, 1836, 1047))
_OPENED_AT = "im_opened_at"


class LeavesReadOnly:
    """Counts what a read-only server says to a write as a broken connection, and has ``engines`` give
    up all their connections that are older than that."""

    def __init__(self, *engines: Engine) -> None:
        # time.monotonic() when a server last said so.
        self._said_at = 0.0
        for engine in engines:
            self._tell_of(engine.dialect)
            event.listen(engine, "connect", _note_opening)
            event.listen(engine, "checkout", self._check_age)

    def check(self, connection: Connection) -> None:
        """Raises when the server takes no writes from this account."""
        connection.exec_driver_sql("START TRANSACTION READ WRITE").close()
        connection.exec_driver_sql("COMMIT").close()

    def _tell_of(self, dialect: Any) -> None:
        is_disconnect = dialect.is_disconnect

        def is_broken(error: Any, connection: Any, cursor: Any) -> bool:
            arguments = getattr(error, "args", ())
            if arguments and arguments[0] in READ_ONLY:
                self._said_at = time.monotonic()
                return True
            return bool(is_disconnect(error, connection, cursor))

        dialect.is_disconnect = is_broken

    def _check_age(self, _connection: Any, entry: Any, _proxy: object) -> None:
        if entry.info.get(_OPENED_AT, 0.0) < self._said_at:
            raise InvalidatePoolError


def _note_opening(_connection: Any, entry: Any) -> None:
    entry.info[_OPENED_AT] = time.monotonic()
