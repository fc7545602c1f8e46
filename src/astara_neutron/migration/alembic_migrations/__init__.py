"""Alembic's script location of the sub-project `astara`."""

#: Kept apart from Neutron's own `alembic_version`.
VERSION_TABLE = "astara_alembic_version"
