"""Which nodes are given up or emptied, and where to what is on them goes. Pure.

A node that is silent may be alive, and whoever cannot hear most nodes is more likely cut off himself: so patience, and
a brake. What is moved is a placement in Neutron; the ordinary reconcile makes the new instance and, when an old node
answers again, finds the instance there as surplus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from astara.model.resource import ResourceKey
from astara.planning.rollout import Budget


@dataclass(frozen=True, slots=True)
class NodeStand:
    """How a node stands. `silent_s`: for how long it has not answered, 0 while it does; `bodies` None: not known."""

    name: str
    silent_s: float = 0.0
    drained: bool = False
    bodies: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`dead`: nodes given up. `brake`: why none is although some are silent for long enough; empty: none is held."""

    dead: frozenset[str] = frozenset()
    brake: str = ""


@dataclass(frozen=True, slots=True)
class Lodger:
    """One slot of a resource on a node that shall be left.

    `reads`: the resource's kind in Neutron; `position`: of the slot among its slots; `body`: what it runs in, None
    while nothing does. `others` are the hosts of its other slots; `spared`: each of those serves, so that this one may
    be ended; `heard`: each of those stands by, as it does only while it hears this one, or sees it on a network.
    """

    key: ResourceKey
    reads: str
    position: int
    host: str
    body: str | None
    others: frozenset[str] = frozenset()
    spared: bool = True
    heard: bool = False
    active: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    lodger: Lodger
    to: str

    @property
    def kind(self) -> str:
        """As the plug-in names what is placed: "router", "network", "router/1"."""
        lodger = self.lodger
        return lodger.reads if lodger.position == 0 else f"{lodger.reads}/{lodger.position}"


def judge(nodes: Sequence[NodeStand], patience_s: float, pardoned: Collection[str] = ()) -> Verdict:
    """Say which nodes are given up. `pardoned`: an operator said of these that they are really dead."""
    late = frozenset(node.name for node in nodes if node.silent_s >= patience_s)
    if not late:
        return Verdict()
    silent = [node.name for node in nodes if node.silent_s > 0 and node.name not in pardoned]
    if 2 * len(silent) > len(nodes):
        reason = (
            f"{len(silent)} of {len(nodes)} nodes do not answer: more likely this side is cut off; nothing is placed "
            "elsewhere until most answer, or `astara brake release`"
        )
        return Verdict(frozenset(late & frozenset(pardoned)), reason)
    return Verdict(late)


def alive(lodgers: Iterable[Lodger], dead: Collection[str], pardoned: Collection[str]) -> tuple[Lodger, ...]:
    """Return those on nodes given up that serve still: somewhere else they would be a second active half."""
    return tuple(one for one in lodgers if one.heard and one.host in dead and one.host not in pardoned)


def moves(
    lodgers: Iterable[Lodger],
    nodes: Sequence[NodeStand],
    dead: Collection[str],
    load: Mapping[str, int],
    in_work: Mapping[ResourceKey, frozenset[str]],
    budget: Budget,
) -> tuple[tuple[Move, ...], tuple[Lodger, ...]]:
    """Return what is moved now, and who finds no room anywhere.

    `load`: instances by node; `in_work`: what was moved and does not serve yet, with the nodes that concerns. The dead
    come first, then halves that stand by; of one resource one slot at a time.
    """
    busy: Counter[str] = Counter(host for hosts in in_work.values() for host in hosts)
    full: Counter[str] = Counter(load)
    moving = set(in_work)
    chosen: list[Move] = []
    homeless: list[Lodger] = []
    for one in sorted(lodgers, key=lambda one: (one.host not in dead, one.active, str(one.key), one.position)):
        if one.key in moving or not (one.spared or one.host in dead):
            continue
        rooms = [node for node in nodes if _takes(node, one)]
        if not rooms:
            homeless.append(one)
            continue
        free = [node for node in rooms if busy[node.name] < budget.per_node]
        source_full = one.host not in dead and busy[one.host] >= budget.per_node
        if len(moving) >= budget.in_total or not free or source_full:
            continue
        to = min(free, key=lambda node: (full[node.name], node.name)).name
        chosen.append(Move(one, to))
        moving.add(one.key)
        full[to] += 1
        busy.update({to} if one.host in dead else {to, one.host})
    return tuple(chosen), tuple(homeless)


def _takes(node: NodeStand, one: Lodger) -> bool:
    fits = None in (node.bodies, one.body) or one.body in (node.bodies or ())
    return fits and node.silent_s == 0 and not node.drained and node.name not in one.others and node.name != one.host
