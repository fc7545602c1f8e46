"""Which ring should follow, given who is there: pure."""

from __future__ import annotations

from collections.abc import Iterable

from astara.model.cluster import Member, Ring


def successor(
    newest: Ring | None, present: Iterable[Member], *, settling: bool, wall: float, heard: int = 0
) -> Ring | None:
    """Return the ring to append, or None when the newest one is right. `heard`: the greatest epoch known to have been.

    Two rings of the same members follow each other only when the table was put back from an old copy: then its newest
    epoch is one that agents refuse.

    Of two members of one name the later incarnation counts: the other is dead, and the group has not noticed yet.
    `settling`: the group answers again only since a moment, so members it does not name may be about to join it again.
    They keep their place, unless a successor of theirs is there: a coordinator that forgot everything moves nothing.

    Epochs are at least the wall clock's seconds: were the table lost and they began at 1 again, every agent would
    refuse us as stale for ever.
    """
    latest: dict[str, Member] = {}
    for member in sorted(present, key=lambda member: (member.name, member.incarnation)):
        latest[member.name] = member
    if settling and newest is not None:
        latest = {member.name: member for member in newest.members} | latest
    members = tuple(latest[name] for name in sorted(latest))
    if newest is not None and newest.members == members and newest.epoch >= heard:
        return None
    return Ring(epoch=max(newest.epoch if newest is not None else 0, heard, int(wall) - 1) + 1, members=members)


def reason(before: Ring | None, after: Ring) -> str:
    """Say in words what is different."""
    old = {member.name: member for member in before.members} if before is not None else {}
    new = {member.name: member for member in after.members}
    said = [f"{name} came" for name in new if name not in old]
    said += [f"{name} went" for name in old if name not in new]
    said += [f"{name} started again" for name in new if name in old and new[name].incarnation != old[name].incarnation]
    said += [
        f"{name} weighs {new[name].weight:g}, not {old[name].weight:g}"
        for name in new
        if name in old and new[name].incarnation == old[name].incarnation and new[name].weight != old[name].weight
    ]
    return ", ".join(said) or "the table of rings was put back from an old copy"
