"""What operators said of resources: holds, bodies, editions. A counter tells others that there is something new."""

from __future__ import annotations

import sqlalchemy as sa

from astara.model.resource import ResourceKey
from astara.records.database import Database
from astara.records.schema import SAID


def read(database: Database, table: sa.Table, column: sa.Column[str]) -> dict[ResourceKey, str]:
    """Return all of one kind, none where there is no file or no table in it yet.

    Raises SQLAlchemyError, OSError, ValueError for a bad key.
    """
    if not database.exists() or not (database.shared or sa.inspect(database.engine).has_table(table.name)):
        return {}
    with database.engine.connect() as connection:
        rows = connection.execute(sa.select(table.c.key, column)).all()
    return {ResourceKey.parse(key): said for key, said in rows}


def change(database: Database, statement: sa.Executable) -> None:
    """Carry out the statement and let others know; raises SQLAlchemyError."""
    with database.engine.begin() as connection:
        tell(database, connection)
        connection.execute(statement)


def tell(database: Database, connection: sa.Connection) -> None:
    """Let others know, as part of the transaction that changes something; raises SQLAlchemyError."""
    connection.execute(database.upsert(SAID, {"id": 1, "revision": 1}, {"revision": SAID.c.revision + 1}))


def revision(database: Database) -> int:
    """Return the counter; raises SQLAlchemyError."""
    with database.engine.connect() as connection:
        return connection.execute(sa.select(SAID.c.revision)).scalar() or 0
