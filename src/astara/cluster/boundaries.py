"""What a member needs of the world: a group that notices who is gone, and a table one appends to at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from astara.model.cluster import Member, Ring, RingLine


class Coordinator(Protocol):
    """A group of processes. Made for one member; every method raises Retry when the group cannot be asked."""

    def beat(self) -> frozenset[Member]:
        """Say that this member lives, joining (again) if the group does not know it; return who else does, and it.

        Whoever does not beat for the lease is not among them any more.
        """
        ...

    def leave(self) -> None:
        """Be gone for the others at once; absence is success."""
        ...

    def close(self) -> None:
        """Let go of connections; raises nothing."""
        ...


class Rings(Protocol):
    """The table of rings, in the database. Every method raises Retry when the database does not answer."""

    def newest(self) -> Ring | None:
        """Return the ring of the greatest epoch; None before the first."""
        ...

    def append(self, ring: Ring, after: int, by: str, why: str) -> bool:
        """Have `ring` follow that of epoch `after` (0: be the first); False when that one has a successor already."""
        ...

    def story(self, limit: int) -> Sequence[RingLine]:
        """Return the newest rings, the newest first."""
        ...
