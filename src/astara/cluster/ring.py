"""Who owns a key, by weighted rendezvous hashing: a pure function of the ring and the key.

Each member draws a number for each key, the smallest has it (Thaler and Ravishankar, "Using name-based mappings to
increase hit rates", 1998; weights by -ln(u)/w, Schindelhauer and Schomaker, 2005). So shares are as the weights, a
member that leaves hands over its own keys only, to all others alike, and one that comes takes only what becomes its
own. tooz's ring does the same with points on a circle, and is uneven by their number: here there are none to choose.

By name, not by incarnation: who is restarted gets back what it had.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping

from astara.model.cluster import Member, Ring

_SPAN = 2.0**64


def owner(ring: Ring, key: str) -> Member | None:
    """Return the member that owns `key` ("driver/id") at this epoch; None in a ring without members."""
    if len(ring.members) <= 1:
        return ring.members[0] if ring.members else None
    return min(ring.members, key=lambda member: (_draw(member, key), member.name))


def _draw(member: Member, key: str) -> float:
    drawn = hashlib.blake2b(key.encode(), key=_seed(member.name), digest_size=8).digest()
    # Never 0 or 1: both have no logarithm one could divide by.
    return -math.log((int.from_bytes(drawn) + 0.5) / _SPAN) / member.weight


def _seed(name: str) -> bytes:
    """Return at most 64 bytes, which is what blake2b takes as a key."""
    plain = name.encode()
    return plain if len(plain) <= 64 else hashlib.blake2b(plain).digest()


def without(ring: Ring, name: str) -> Ring:
    """Return the ring as it would be without a member."""
    return Ring(epoch=ring.epoch, members=tuple(member for member in ring.members if member.name != name))


def shares(ring: Ring) -> dict[str, float]:
    """Return what part of all keys each member can expect, by name."""
    total = sum(member.weight for member in ring.members)
    return {member.name: member.weight / total for member in ring.members}


def counted(ring: Ring, keys: Iterable[str]) -> dict[str, int]:
    """Return how many of `keys` each member really has."""
    counts: Counter[str] = Counter({member.name: 0 for member in ring.members})
    counts.update(has.name for has in (owner(ring, key) for key in keys) if has is not None)
    return dict(counts)


def moves(before: Ring, after: Ring, keys: Iterable[str]) -> Mapping[tuple[str, str], int]:
    """Return how many of `keys` change hands between two rings, by (from, to); "" stands for nobody."""
    pairs = ((_name(owner(before, key)), _name(owner(after, key))) for key in keys)
    return Counter(pair for pair in pairs if pair[0] != pair[1])


def _name(member: Member | None) -> str:
    return "" if member is None else member.name
