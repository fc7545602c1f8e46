"""History becomes the audit: when, who and how it ended, in columns to ask by; a counter of what was said.

Only adds: the version before writes lines without them, which `records.lines.complete` fills in from the line itself.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa

from astara.records.columns import COUNT, NAME, SECONDS
from astara.records.migrations.again import add_column, make_index, make_table

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add them."""
    add_column("history", sa.Column("at", SECONDS, nullable=True))
    add_column("history", sa.Column("who", NAME, nullable=True))
    add_column("history", sa.Column("outcome", NAME, nullable=True))
    make_index("ix_history_at", "history", "at")
    make_table(
        "said",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", COUNT, nullable=False),
    )
