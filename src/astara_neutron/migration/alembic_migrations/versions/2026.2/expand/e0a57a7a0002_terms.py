"""The greatest term heard of.

Revision ID: e0a57a7a0002
Revises: e0a57a7a0001
"""

import sqlalchemy as sa
from alembic import op

revision = "e0a57a7a0002"
down_revision = "e0a57a7a0001"


def upgrade() -> None:
    """Create astara_neutron.models.AstaraTerm."""
    op.create_table(
        "astara_terms",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        mysql_engine="InnoDB",
    )
