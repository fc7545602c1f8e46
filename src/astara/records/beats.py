"""A group without another service: each member's row in the database counts its beats.

No clock is compared with another: who a member has not seen counting for the lease, by its own clock, is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from astara.model.cluster import Member
from astara.records.asking import Asking
from astara.records.schema import BEATS

#: A row that stands still for so many leases is taken away.
_FORGOTTEN = 20


@dataclass(slots=True)
class _Seen:
    beat: int
    at: float
    counting: bool = False


class BeatsCoordinator:
    """Implements cluster.boundaries.Coordinator. `now` is monotonic seconds."""

    def __init__(self, asking: Asking, me: Member, lease_s: float, now: Callable[[], float]) -> None:
        self._asking = asking
        self._me = me
        self._lease_s = lease_s
        self._now = now
        self._beat = 0
        self._seen: dict[str, _Seen] = {}

    def beat(self) -> frozenset[Member]:
        """Count one more; return who counted within the lease. Raises Retry."""
        self._beat += 1
        mine = {"member": str(self._me), "beat": self._beat}
        with self._asking.transaction() as connection:
            connection.execute(self._asking.database.upsert(BEATS, mine))
            rows = connection.execute(sa.select(BEATS.c.member, BEATS.c.beat)).all()
        self._note(dict(map(tuple, rows)))
        now = self._now()
        alive = {name for name, seen in self._seen.items() if seen.counting and now - seen.at < self._lease_s}
        self._forget({name for name, seen in self._seen.items() if now - seen.at > _FORGOTTEN * self._lease_s})
        return frozenset({self._me} | {member for member in map(_parsed, alive) if member is not None})

    def leave(self) -> None:
        """Take our row away; raises Retry."""
        with self._asking.transaction() as connection:
            connection.execute(sa.delete(BEATS).where(BEATS.c.member == str(self._me)))

    def close(self) -> None:
        """Nothing is ours to close: the records own the database."""

    def _note(self, beats: dict[str, int]) -> None:
        now = self._now()
        for name in self._seen.keys() - beats.keys():
            del self._seen[name]
        for name, beat in beats.items():
            seen = self._seen.get(name)
            if seen is None:
                # A row alone is no life: whoever left it may be dead for days.
                self._seen[name] = _Seen(beat, now)
            elif seen.beat != beat:
                seen.beat, seen.at, seen.counting = beat, now, True

    def _forget(self, names: set[str]) -> None:
        if names:
            with self._asking.transaction() as connection:
                connection.execute(sa.delete(BEATS).where(BEATS.c.member.in_(sorted(names))))


def _parsed(name: str) -> Member | None:
    try:
        return Member.parse(name)
    except ValueError:
        return None
