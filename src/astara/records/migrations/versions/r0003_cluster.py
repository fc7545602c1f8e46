"""Rings, beats and claims: what several orchestrators share.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa

from astara.records.columns import COUNT, NAME, SECONDS, WORDS
from astara.records.migrations.again import make_table

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create them; an older version takes no notice."""
    make_table(
        "rings",
        sa.Column("epoch", COUNT, primary_key=True, autoincrement=False),
        sa.Column("follows", COUNT, nullable=False, unique=True),
        sa.Column("members", WORDS, nullable=False),
        sa.Column("at", SECONDS, nullable=False),
        sa.Column("said_by", NAME, nullable=False),
        sa.Column("why", WORDS, nullable=False),
    )
    make_table("beats", sa.Column("member", NAME, primary_key=True), sa.Column("beat", COUNT, nullable=False))
    make_table(
        "claims",
        sa.Column("key", NAME, primary_key=True),
        sa.Column("slot", NAME, primary_key=True),
        sa.Column("term", COUNT, nullable=False),
        sa.Column("at", SECONDS, nullable=False),
    )
