"""The table of rings: appended to, never changed; of two who follow one ring the first wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from astara.contract.codec import decode, encode
from astara.model.cluster import Member, Ring, RingLine
from astara.records.asking import Asking
from astara.records.schema import RINGS

#: Rings remembered. Nobody asks for older ones: a member follows the newest, an operator reads a page.
_KEPT = 1000


class StoredRings:
    """Implements cluster.boundaries.Rings."""

    def __init__(self, asking: Asking, wall: Callable[[], float]) -> None:
        self._asking = asking
        self._wall = wall

    def newest(self) -> Ring | None:
        """Return the ring of the greatest epoch; raises Retry."""
        lines = self.story(1)
        return lines[0].ring if lines else None

    def append(self, ring: Ring, after: int, by: str, why: str) -> bool:
        """Have `ring` follow the one of epoch `after`; False when something does already. Raises Retry."""
        row = {
            "epoch": ring.epoch,
            "follows": after,
            "members": encode(ring.members).decode(),
            "at": self._wall(),
            "said_by": by,
            "why": why,
        }
        try:
            with self._asking.transaction() as connection:
                connection.execute(sa.insert(RINGS).values(**row))
                # What goes with the oldest is only the proof that nobody may follow what nobody follows any more.
                count = connection.execute(sa.select(sa.func.count()).select_from(RINGS)).scalar_one()
                if count > 2 * _KEPT:
                    kept = sa.select(RINGS.c.epoch).order_by(RINGS.c.epoch.desc()).limit(1).offset(_KEPT)
                    oldest = connection.execute(kept).scalar_one()
                    connection.execute(sa.delete(RINGS).where(RINGS.c.epoch <= oldest))
        except IntegrityError:
            return False
        return True

    def story(self, limit: int) -> Sequence[RingLine]:
        """Return the newest rings, the newest first; raises Retry."""
        with self._asking.transaction() as connection:
            rows = connection.execute(sa.select(RINGS).order_by(RINGS.c.epoch.desc()).limit(limit)).all()
        return [_line(row) for row in rows]


def _line(row: Any) -> RingLine:
    ring = Ring(epoch=row.epoch, members=decode(row.members, tuple[Member, ...]))
    return RingLine(ring=ring, at=row.at, by=row.said_by, why=row.why)
