"""Holds, bodies, term and history. A SQLite file from before there were migrations has them already: it is taken over.

Revision ID: 0001
Revises: -
"""

from __future__ import annotations

import sqlalchemy as sa

from astara.records.columns import BYTES, COUNT, NAME, SECONDS, WORDS
from astara.records.migrations.again import make_index, make_table, readable_since

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create what is missing."""
    make_table(
        "holds",
        sa.Column("key", NAME, primary_key=True),
        sa.Column("reason", WORDS, nullable=False),
        sa.Column("at", SECONDS, nullable=False),
    )
    make_table("bodies", sa.Column("key", NAME, primary_key=True), sa.Column("body", NAME, nullable=False))
    make_table(
        "term",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("value", COUNT, nullable=False),
    )
    make_table(
        "history",
        sa.Column("id", COUNT, primary_key=True, autoincrement=True),
        sa.Column("key", NAME, nullable=False),
        sa.Column("line", BYTES, nullable=False),
    )
    make_index("ix_history_key", "history", "key")
    make_table(
        "compatibility",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("oldest", NAME, nullable=False),
    )
    readable_since("0001")
