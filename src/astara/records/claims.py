"""Who may make the instance of a slot, where nobody else can refuse to: one row per slot, its term only grows."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from astara.model.errors import Retry, Stale
from astara.model.resource import ResourceKey
from astara.records.asking import Asking
from astara.records.schema import CLAIMS


def claim(asking: Asking, key: ResourceKey, slot: str, term: int, wall_s: float) -> None:
    """Raises Stale when a greater term has it, Retry when the database does not answer. The same term may ask again."""
    row = (CLAIMS.c.key == str(key)) & (CLAIMS.c.slot == slot)
    try:
        with asking.transaction() as connection:
            taken = sa.update(CLAIMS).where(row, CLAIMS.c.term <= term).values(term=term, at=wall_s)
            if connection.execute(taken).rowcount:
                return
            held = connection.execute(sa.select(CLAIMS.c.term).where(row)).scalar()
            if held is not None and held > term:
                raise Stale(f"{key} slot {slot} is claimed under term {held}, ours is {term}", "look again")
            if held is None:
                connection.execute(sa.insert(CLAIMS).values(key=str(key), slot=slot, term=term, at=wall_s))
    except IntegrityError:
        raise Retry(f"{key} slot {slot}: another orchestrator claims it at this moment", "nothing to do", 0.5) from None
