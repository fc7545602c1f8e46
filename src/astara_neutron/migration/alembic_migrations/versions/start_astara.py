"""Start of the sub-project astara.

Revision ID: start_astara
Revises: None
"""

revision = "start_astara"
down_revision = None


def upgrade() -> None:
    """Nothing yet: both branches begin here."""
