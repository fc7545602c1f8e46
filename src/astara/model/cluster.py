"""Who shares the work: members, and the rings that say which of them owns what."""

from __future__ import annotations

from astara.contract.codec import Wire


class Member(Wire, frozen=True, order=True):
    """One orchestrator process. A restarted one has the same name and a greater `incarnation`.

    `weight`: its part of the work beside others'; 2.0 gets twice what 1.0 gets.
    """

    name: str
    incarnation: str
    weight: float = 1.0

    def __str__(self) -> str:
        return f"{self.name}/{self.incarnation}/{self.weight:g}"

    @classmethod
    def parse(cls, text: str) -> Member:
        """Read what `str` wrote; raises ValueError."""
        name, incarnation, weight = text.rsplit("/", 2)
        member = cls(name=name, incarnation=incarnation, weight=float(weight))
        if not (name and incarnation and member.weight > 0):
            raise ValueError(f"{text!r} is no member: NAME/INCARNATION/WEIGHT")
        return member


class Ring(Wire, frozen=True):
    """The members from `epoch` on, until there is a ring of a greater one; sorted by name, each name once.

    Who owns a key is a function of this alone (cluster/ring.py). Epochs only grow, and each is one ring for ever.
    """

    epoch: int
    members: tuple[Member, ...]


class RingLine(Wire, frozen=True):
    """A ring with its story: when it began (wall seconds), who appended it, and why."""

    ring: Ring
    at: float
    by: str
    why: str
