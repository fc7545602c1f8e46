"""SQLite fit for the several threads of a Neutron.

oslo.db opens a SQLite transaction with a plain BEGIN. One that reads first and writes later then fails at once with
"database is locked" whenever another thread wrote in between: SQLite will not let it wait, because its snapshot is
old. Here a transaction begins only with its first write, and as BEGIN IMMEDIATE, which does wait; reads before it
see what is committed, as they do on MySQL's READ COMMITTED. For labs and tests only: one process, one file.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "SAVEPOINT")


def listen(*, synchronous: str = "NORMAL") -> None:
    """Have every engine of this process behave so; before Neutron is imported, whose oslo.db listens too.

    `synchronous`: SQLite's pragma. With NORMAL and a write-ahead log the last commits are lost when the machine dies,
    and nothing when a process does.
    """

    @event.listens_for(Engine, "connect")
    def sync_less(connection: Any, _record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute(f"PRAGMA synchronous = {synchronous}")

    event.listen(Engine, "begin", _begin_later)
    event.listen(Engine, "before_cursor_execute", _begin_with_the_first_write)


def _begin_later(connection: Any) -> None:
    """Runs before oslo.db's listener, which looks at this mark and then does not say BEGIN."""
    if connection.dialect.name == "sqlite":
        connection.info["in_transaction"] = True


def _begin_with_the_first_write(
    connection: Any, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool
) -> None:
    if connection.dialect.name != "sqlite" or not statement.lstrip()[:9].upper().startswith(_WRITES):
        return
    raw = connection.connection.dbapi_connection
    if not raw.in_transaction:
        raw.execute("BEGIN IMMEDIATE")
