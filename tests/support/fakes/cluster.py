"""A group and a table of rings in memory; keep the contract suites of the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from astara.model.cluster import Member, Ring, RingLine
from astara.model.errors import Retry
from support.clock import VirtualClock


@dataclass
class FakeGroup:
    """What the coordinator's servers know: who beat when. `cut_off`: names that cannot reach it; `down`: nobody can."""

    clock: VirtualClock
    lease_s: float = 3.0
    beats: dict[Member, float] = field(default_factory=dict)
    cut_off: set[str] = field(default_factory=set)
    down: bool = False

    def forget_everything(self) -> None:
        """Restart it with an empty memory."""
        self.beats.clear()


@dataclass
class FakeCoordinator:
    """Implements cluster.boundaries.Coordinator."""

    group: FakeGroup
    me: Member

    def beat(self) -> frozenset[Member]:
        self._reach()
        now = self.group.clock.now()
        self.group.beats[self.me] = now
        alive = {member: at for member, at in self.group.beats.items() if now - at < self.group.lease_s}
        self.group.beats = alive
        return frozenset(alive)

    def leave(self) -> None:
        self._reach()
        self.group.beats.pop(self.me, None)

    def close(self) -> None:
        pass

    def _reach(self) -> None:
        if self.group.down or self.me.name in self.group.cut_off:
            raise Retry("the coordinator does not answer", "start it")


@dataclass
class FakeRings:
    """Implements cluster.boundaries.Rings. `lines` is the table."""

    lines: dict[int, RingLine] = field(default_factory=dict)
    followed: set[int] = field(default_factory=set)
    down: bool = False

    def newest(self) -> Ring | None:
        self._reach()
        return self.lines[max(self.lines)].ring if self.lines else None

    def append(self, ring: Ring, after: int, by: str, why: str) -> bool:
        self._reach()
        if after in self.followed or (after == 0 and self.lines):
            return False
        self.followed.add(after)
        self.lines[ring.epoch] = RingLine(ring=ring, at=0.0, by=by, why=why)
        return True

    def story(self, limit: int) -> Sequence[RingLine]:
        self._reach()
        return [self.lines[epoch] for epoch in sorted(self.lines, reverse=True)[:limit]]

    def _reach(self) -> None:
        if self.down:
            raise Retry("the database does not answer", "start it")


@dataclass
class OneMembersRings:
    """The same table, which one member may be cut off from."""

    table: FakeRings
    name: str
    cut_off: set[str]

    def newest(self) -> Ring | None:
        self._reach()
        return self.table.newest()

    def append(self, ring: Ring, after: int, by: str, why: str) -> bool:
        self._reach()
        return self.table.append(ring, after, by, why)

    def story(self, limit: int) -> Sequence[RingLine]:
        self._reach()
        return self.table.story(limit)

    def _reach(self) -> None:
        if self.name in self.cut_off:
            raise Retry("the database does not answer", "start it")
