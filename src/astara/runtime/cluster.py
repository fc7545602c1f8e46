"""This process among others: how it joins them, and what operators are shown of it. Alone, it is a ring of one."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from prometheus_client.core import Metric

from astara.cluster.boundaries import Coordinator, Rings
from astara.cluster.coordination import ToozCoordinator
from astara.cluster.membership import ClusterOptions, Membership, Standing
from astara.cluster.ring import counted, moves, owner, shares, without
from astara.model.boundaries import Clock
from astara.model.cluster import Member, Ring
from astara.model.errors import AstaraError, Gone
from astara.model.operator import CheckLine, ClusterView, MemberLine, MoveLine
from astara.model.resource import ResourceKey
from astara.reconcile.share import SoleOwner
from astara.records.beats import BeatsCoordinator
from astara.records.store import StoredRecords
from astara.runtime.metrics import gauge

#: The group is kept in the records' database.
DATABASE = "database"


def owner_of(member: Membership | Alone, key: ResourceKey) -> str | None:
    """Return the name of the member whose a key is; None while there is no ring."""
    ring = member.standing().ring
    found = None if ring is None else owner(ring, str(key))
    return None if found is None else found.name


def spares_of(host: str) -> ResourceKey:
    """Return the key whose owner keeps the spares of a host."""
    return ResourceKey("spare", host)


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Section [cluster] of astara.conf. Without a url this process is alone."""

    coordination_url: str | None = None
    group: str = "astara"
    weight: float = 1.0
    lease_s: float = 3.0


class Alone(SoleOwner):
    """Everything is ours from the first moment; nobody else is asked."""

    def __init__(self, me: Member, term: int) -> None:
        super().__init__(term)
        self.me = me
        self._ring = Ring(epoch=term, members=(me,))

    def standing(self) -> Standing:
        return Standing(self.me, self._ring, frozenset({self.me}), "", "", frozen=False, pauses=0)


def join(
    settings: ClusterSettings, name: str, records: StoredRecords, clock: Clock, crashed: Callable[[str], None]
) -> Membership | Alone:
    """Return who says what is ours; nothing is asked yet but the database for a term.

    Raises BadConfiguration for a coordination url that cannot work.
    """
    # Greater than every earlier one of this name; the rest tells two processes of one millisecond apart.
    me = Member(
        name=name, incarnation=f"{int(clock.wall() * 1000):013d}-{secrets.token_hex(4)}", weight=settings.weight
    )
    term = records.next_term()
    if settings.coordination_url is None:
        return Alone(me, term)
    coordinator: Coordinator
    if settings.coordination_url == DATABASE:
        coordinator = BeatsCoordinator(records.asking, me, settings.lease_s, clock.now)
    else:
        coordinator = ToozCoordinator(settings.coordination_url, settings.group, me, settings.lease_s)
    options = ClusterOptions(lease_s=settings.lease_s)
    return Membership(me, coordinator, records.rings, clock, options, crashed=crashed, heard=term)


def in_words(member: Membership | Alone) -> str:
    """Say in one line how it goes, from memory."""
    if isinstance(member, Alone):
        return "alone"
    standing = member.standing()
    ring = standing.ring
    if ring is None:
        said = "no ring yet"
    elif standing.me in ring.members:
        said = f"one of {len(ring.members)}"
    else:
        said = f"not in the ring of {len(ring.members)}"
    troubles = [
        f"the group cannot be asked ({standing.coordination})" if standing.coordination else "",
        f"the rings cannot be read ({standing.records})" if standing.records else "",
        "it stood still and has not looked again" if standing.frozen else "",
    ]
    wrong = [trouble for trouble in troubles if trouble]
    return "; ".join([said, *wrong, *(["nobody takes over meanwhile"] if standing.coordination else [])])


def view(
    member: Membership | Alone,
    rings: Rings,
    keys: Collection[ResourceKey],
    leaver: str | None = None,
    of: ResourceKey | None = None,
) -> ClusterView:
    """Return who shares the work. `leaver`: say what would move without it. `of`: say whose that resource is.

    Raises Gone for a `leaver` that is no member.
    """
    standing = member.standing()
    ring = standing.ring or Ring(epoch=0, members=())
    names = [str(key) for key in keys]
    if leaver is not None and leaver not in {one.name for one in ring.members}:
        raise Gone(f"{leaver} is no member", "`astara cluster` lists them")
    would_move = {} if leaver is None else moves(ring, without(ring, leaver), names)
    asked = None if of is None else owner(ring, str(of))
    at, why = _story(rings, ring.epoch)
    return ClusterView(
        me=standing.me.name,
        epoch=ring.epoch,
        since=at,
        why=why,
        coordination="alone" if isinstance(member, Alone) else standing.coordination or "ok",
        records=standing.records or "ok",
        paused=standing.frozen,
        pauses=standing.pauses,
        known=len(names),
        members=_members(standing, ring, names),
        moves=tuple(
            MoveLine(giver=giver, taker=taker, resources=n) for (giver, taker), n in sorted(would_move.items())
        ),
        owner=None if asked is None else asked.name,
    )


def _story(rings: Rings, epoch: int) -> tuple[float | None, str]:
    try:
        lines = [line for line in rings.story(5) if line.ring.epoch == epoch]
    except AstaraError:
        return None, ""
    return (lines[0].at, lines[0].why) if lines else (None, "")


def _members(standing: Standing, ring: Ring, names: Iterable[str]) -> tuple[MemberLine, ...]:
    expected, counts = shares(ring), counted(ring, names)
    return tuple(
        MemberLine(
            name=one.name,
            incarnation=one.incarnation,
            weight=one.weight,
            share=round(expected[one.name], 4),
            resources=counts[one.name],
            beats=one in standing.present,
            me=one == standing.me,
        )
        for one in ring.members
    )


def checks(member: Membership | Alone, *, shared_database: bool) -> list[CheckLine]:
    """What doctor says of it."""
    standing = member.standing()
    if isinstance(member, Alone):
        if not shared_database:
            return []
        return [CheckLine(check="cluster", ok=True, detail="alone; [cluster] coordination_url makes it one of several")]
    ring = standing.ring
    names = ", ".join(one.name for one in ring.members) if ring is not None else "none yet"
    lines = [
        _check("cluster coordination", standing.coordination, "the group answers; nobody takes over while it does not"),
        _check("cluster records", standing.records, "the table of rings answers"),
    ]
    if ring is not None and standing.me not in ring.members:
        other = any(one.name == standing.me.name for one in ring.members)
        detail = f"not in the ring of {names}" + (f"; another process calls itself {standing.me.name}" if other else "")
        lines.append(
            CheckLine(
                check="cluster ring", ok=False, detail=detail, remedy="give each orchestrator its own [DEFAULT] name"
            )
        )
    else:
        lines.append(CheckLine(check="cluster ring", ok=ring is not None, detail=f"members: {names}"))
    return lines


def _check(name: str, trouble: str, well: str) -> CheckLine:
    if trouble:
        remedy = "see [cluster] coordination_url and [database] connection; what is owned goes on being served"
        return CheckLine(check=name, ok=False, detail=trouble, remedy=remedy)
    return CheckLine(check=name, ok=True, detail=well)


def gauges(member: Membership | Alone, elsewhere: int) -> Iterable[Metric]:
    """What a scrape reads, from memory."""
    standing = member.standing()
    ring = standing.ring
    yield gauge("astara_cluster_epoch", "Epoch of the ring in force here", {(): float(ring.epoch if ring else 0)})
    yield gauge("astara_cluster_members", "Members of that ring", {(): float(len(ring.members) if ring else 0)})
    inside = ring is not None and standing.me in ring.members
    yield gauge("astara_cluster_in_ring", "1 while this orchestrator is one of them", {(): float(inside)})
    well: dict[tuple[str, ...], float] = {
        ("coordination",): float(not standing.coordination),
        ("records",): float(not standing.records),
    }
    yield gauge("astara_cluster_answers", "1 while the group, or the table of rings, answers", well, "what")
    yield gauge(
        "astara_cluster_pauses", "Times this process was felt to have stood still", {(): float(standing.pauses)}
    )
    yield gauge("astara_resources_elsewhere", "Resources known here that others own", {(): float(elsewhere)})
