"""Upgrades: what is asked for, how far each resource has come, and what is wished of it from then on.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa

from astara.records.columns import COUNT, NAME, SECONDS, WORDS
from astara.records.migrations.again import make_table

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create them; an older version takes no notice, and upgrades nothing."""
    make_table(
        "upgrades",
        sa.Column("number", COUNT, primary_key=True, autoincrement=False),
        sa.Column("wish", WORDS, nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("why", WORDS, nullable=False),
        sa.Column("said_by", NAME, nullable=False),
        sa.Column("at", SECONDS, nullable=False),
        sa.Column("term", COUNT, nullable=False),
        sa.Column("collected", sa.Integer, nullable=False),
        sa.Column("baseline", SECONDS, nullable=False),
        sa.Column("soaked_at", SECONDS, nullable=True),
    )
    make_table(
        "upgrade_items",
        sa.Column("number", COUNT, primary_key=True, autoincrement=False),
        sa.Column("key", NAME, primary_key=True),
        sa.Column("position", COUNT, nullable=False),
        sa.Column("stage", NAME, nullable=False),
        sa.Column("hosts", WORDS, nullable=False),
        sa.Column("since", SECONDS, nullable=False),
        sa.Column("image", NAME, nullable=True),
        sa.Column("before", NAME, nullable=True),
    )
    make_table(
        "editions",
        sa.Column("key", NAME, primary_key=True),
        sa.Column("kind", NAME, nullable=False),
        sa.Column("number", NAME, nullable=False),
        sa.Column("image", NAME, nullable=True),
    )
