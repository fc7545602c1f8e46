"""Change journal, nodes and placements.

Revision ID: e0a57a7a0001
Revises: start_astara
"""

import sqlalchemy as sa
from alembic import op
from neutron.db.migration import cli

revision = "e0a57a7a0001"
down_revision = "start_astara"
branch_labels = (cli.EXPAND_BRANCH,)


def upgrade() -> None:
    """Create the three tables of astara_neutron.models."""
    op.create_table(
        "astara_changes",
        sa.Column("seq", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("resource_id", sa.String(36), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        mysql_engine="InnoDB",
    )
    op.create_index("ix_astara_changes_created_at", "astara_changes", ["created_at"])
    op.create_table(
        "astara_nodes",
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("available", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("host"),
        mysql_engine="InnoDB",
    )
    op.create_table(
        "astara_placements",
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("resource_id", sa.String(36), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("kind", "resource_id"),
        mysql_engine="InnoDB",
    )
    op.create_index("ix_astara_placements_host", "astara_placements", ["host"])
