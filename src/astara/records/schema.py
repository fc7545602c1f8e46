"""The tables, and how a connection is opened.

All of it can be deleted; what is lost is holds, chosen bodies and history. That is an operator's decision, never ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

METADATA = sa.MetaData()

HOLDS = sa.Table(
    "holds",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),  # "driver/id"
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

BODIES = sa.Table(
    "bodies",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),  # a provider's name
)

TERM = sa.Table(
    "term",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),  # always 1
    sa.Column("value", sa.Integer, nullable=False),
)

HISTORY = sa.Table(
    "history",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.Text, nullable=False, index=True),
    sa.Column("line", sa.LargeBinary, nullable=False),  # a HistoryLine as canonical JSON
)

#: How long a statement waits for another process that holds the lock, in seconds.
LOCK_WAIT_S = 2.0


def engine(path: Path) -> sa.Engine:
    """Return an engine for the file; nothing is opened yet."""
    made = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": LOCK_WAIT_S})
    sa.event.listen(made, "connect", _on_connect)
    return made


def _on_connect(connection: Any, _record: Any) -> None:
    # Readers never wait for the writer; a crash of the machine may lose the last lines, never the file.
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
