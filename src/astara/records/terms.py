"""The term: a number that is greater at every start than ever before."""

from __future__ import annotations

import sqlalchemy as sa

from astara.records.database import Database
from astara.records.schema import TERM


def next_term(database: Database, wall_s: int) -> int:
    """Return a greater term than every stored one, at least `wall_s`, and store it; raises SQLAlchemyError.

    The one statement takes the row's lock: of two that start at once each gets a term of its own.
    """
    grown = sa.case((TERM.c.value >= wall_s, TERM.c.value + 1), else_=wall_s)
    with database.engine.begin() as connection:
        if connection.execute(sa.update(TERM).where(TERM.c.id == 1).values(value=grown)).rowcount == 0:
            connection.execute(sa.insert(TERM).values(id=1, value=wall_s))
        term: int = connection.execute(sa.select(TERM.c.value)).scalar_one()
    return term
