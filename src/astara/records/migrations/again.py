"""Steps of migrations that may run again: MariaDB keeps half of a migration that was cut off."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def make_table(name: str, *columns: sa.Column[object]) -> None:
    """Create a table unless it is there."""
    if not _inspector().has_table(name):
        op.create_table(name, *columns, mysql_engine="InnoDB", mariadb_engine="InnoDB")


def add_column(table: str, column: sa.Column[object]) -> None:
    """Add a column unless it is there; it must be nullable or have a server default: the older version inserts too."""
    if column.name not in {found["name"] for found in _inspector().get_columns(table)}:
        op.add_column(table, column)


def make_index(name: str, table: str, *columns: str) -> None:
    """Create an index unless it is there."""
    if name not in {found["name"] for found in _inspector().get_indexes(table)}:
        op.create_index(name, table, columns)


def readable_since(oldest: str) -> None:
    """Say which revision's version is the oldest that can work with the schema from now on: contracting steps do."""
    table = sa.table("compatibility", sa.column("id", sa.Integer), sa.column("oldest", sa.String))
    bind = op.get_bind()
    if bind.execute(sa.update(table).where(table.c.id == 1).values(oldest=oldest)).rowcount == 0:
        bind.execute(sa.insert(table).values(id=1, oldest=oldest))


def _inspector() -> sa.Inspector:
    found: sa.Inspector = sa.inspect(op.get_bind())
    return found
