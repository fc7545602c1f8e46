"""Start of the contract branch.

Revision ID: c0a57a7a0001
Revises: start_astara
"""

from neutron.db.migration import cli

revision = "c0a57a7a0001"
down_revision = "start_astara"
branch_labels = (cli.CONTRACT_BRANCH,)


def upgrade() -> None:
    """Nothing to contract."""
