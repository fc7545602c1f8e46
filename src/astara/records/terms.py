"""The term: a number that is greater at every start than ever before."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from astara.records.database import Database
from astara.records.schema import RINGS, TERM

_TRIES = 3


def greatest(database: Database) -> int:
    """Return the greatest term that is written down, 0 where none is; raises SQLAlchemyError."""
    with database.engine.connect() as connection:
        terms = connection.execute(sa.select(sa.func.max(TERM.c.value))).scalar() or 0
        epochs = connection.execute(sa.select(sa.func.max(RINGS.c.epoch))).scalar() or 0
    return max(terms, epochs)


def raise_to(database: Database, term: int) -> int:
    """Have every term from now on be greater than `term`; returns what is written now. Raises SQLAlchemyError."""
    grown = sa.case((TERM.c.value >= term, TERM.c.value), else_=term)
    return _taken(database, database.upsert(TERM, {"id": 1, "value": term}, {"value": grown}))


def next_term(database: Database, wall_s: int) -> int:
    """Return a greater term than every stored one, at least `wall_s`, and store it; raises SQLAlchemyError.

    The one statement takes the row's lock: of two that start at once each gets a term of its own.
    """
    with database.engine.connect() as connection:
        # Who was one of several and is alone now goes on from where they were.
        wall_s = max(wall_s, (connection.execute(sa.select(sa.func.max(RINGS.c.epoch))).scalar() or 0) + 1)
    grown = sa.case((TERM.c.value >= wall_s, TERM.c.value + 1), else_=wall_s)
    statement = database.upsert(TERM, {"id": 1, "value": wall_s}, {"value": grown})
    for _ in range(_TRIES):
        try:
            return _taken(database, statement)
        except OperationalError as error:
            refused = error  # MariaDB undoes one of two that insert the first row at the same time
    raise refused


def _taken(database: Database, statement: sa.Executable) -> int:
    with database.engine.begin() as connection:
        connection.execute(statement)
        term: int = connection.execute(sa.select(TERM.c.value)).scalar_one()
    return term
