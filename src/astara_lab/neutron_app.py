"""Neutron's API for uWSGI in a lab (`module = astara_lab.neutron_app:application`), and SQLite fit for several threads.

oslo.db opens a SQLite transaction with a plain BEGIN. One that reads first and writes later then fails at once with
"database is locked" whenever another thread wrote in between: SQLite will not let it wait, because its snapshot is
old. Here a transaction begins only with its first write, and as BEGIN IMMEDIATE, which does wait; reads before it
see what is committed, as they do on MySQL's READ COMMITTED. For labs only: one process, one file.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "SAVEPOINT")


@event.listens_for(Engine, "connect")
def _sync_less(connection: Any, _record: Any) -> None:
    """With a write-ahead log that loses the last commits when the machine dies, and nothing when a process does."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = NORMAL")


@event.listens_for(Engine, "begin")
def _begin_later(connection: Any) -> None:
    """Runs before oslo.db's listener, which looks at this mark and then does not say BEGIN."""
    if connection.dialect.name == "sqlite":
        connection.info["in_transaction"] = True


@event.listens_for(Engine, "before_cursor_execute")
def _begin_with_the_first_write(
    connection: Any, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool
) -> None:
    if connection.dialect.name != "sqlite" or not statement.lstrip()[:9].upper().startswith(_WRITES):
        return
    raw = connection.connection.dbapi_connection
    if not raw.in_transaction:
        raw.execute("BEGIN IMMEDIATE")


from neutron import policy  # noqa: E402
from neutron.wsgi.api import application  # noqa: E402 - importing it starts Neutron, after the listeners

# Neutron loads its policy with the first request, unlocked: of several first requests at once some get a 403.
policy.init()

__all__ = ["application"]
