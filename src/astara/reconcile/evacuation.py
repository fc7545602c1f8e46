"""Leaves nodes that are dead or drained: whoever owns the nodes in the ring places elsewhere what is on them, in turns.

Nothing is remembered that could not be asked: what is in work is what was placed and does not serve yet. Losing it
costs the budget once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import structlog

from astara.contract.agent import Health, Role
from astara.model.boundaries import Clock, NeutronApi
from astara.model.errors import AstaraError, Gone, Retry, Stale, Terminal
from astara.model.resource import (
    DesiredInstance,
    DesiredState,
    ObservedInstance,
    PortNeeded,
    Present,
    ResourceKey,
)
from astara.planning.classify import Phase
from astara.planning.housing import Lodger, Move, NodeStand, Verdict, alive, judge, moves
from astara.planning.rollout import Budget
from astara.reconcile.engine import Engine
from astara.reconcile.resync import Surveyed

_log = structlog.get_logger(__name__)
#: Whoever owns this announces the nodes and empties them.
NODES = ResourceKey("cluster", "nodes")
#: In holds: `node/NAME` is a node that is drained, with the reason.
NODE = "node"
IDLE_S, BUSY_S = 2.0, 1.0
#: A survey is as dear as a full look: what it found is used for so long while something moves, twice as long each time
#: nothing does, at most so long while somebody waits for his other half, and while nobody does.
SURVEY_S, WAITING_S, NOTHING_MOVES_S = 10.0, 60.0, 300.0
#: What could not be placed waits for so long, and others come first.
REFUSED_S = 30.0
#: What was moved and does not serve after so long no longer counts as in work: it must not hold up all others.
GIVEN_UP_S = 180.0


@dataclass(frozen=True, slots=True)
class HealingOptions:
    """Section [healing]. `node_patience_s`: after so long without an answer a node is given up."""

    node_patience_s: float = 60.0
    budget: Budget = field(default_factory=lambda: Budget(per_node=2, in_total=8))


@dataclass(frozen=True, slots=True)
class _Survey:
    at: float
    for_s: float = 0.0
    lodgers: tuple[Lodger, ...] = ()
    load: Counter[str] = field(default_factory=Counter)
    sources: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Placed:
    lodger: Lodger
    hosts: frozenset[str]
    at: float


_NONE = float("-inf")


class Evacuation:
    """One thread calls `look`. `nodes` are asked of memory. `tell` is told of each move, for the audit."""

    def __init__(
        self,
        engine: Engine,
        neutron: NeutronApi,
        clock: Clock,
        options: HealingOptions,
        nodes: Callable[[], Sequence[NodeStand]],
        tell: Callable[[ResourceKey, str], None] = lambda key, what: None,
    ) -> None:
        self._engine = engine
        self._neutron = neutron
        self._clock = clock
        self._options = options
        self._nodes = nodes
        self._tell = tell
        self._pardoned: frozenset[str] = frozenset()
        self._in_work: dict[ResourceKey, _Placed] = {}
        self._refused: dict[ResourceKey, float] = {}
        self._survey = _Survey(at=_NONE)
        self._stirred = False
        self._verdict = Verdict()
        self._homeless: tuple[Lodger, ...] = ()
        self._alive: tuple[Lodger, ...] = ()

    @property
    def brake(self) -> str:
        """Why somebody is not placed elsewhere although his node is silent for long enough; empty when nobody is."""
        if self._verdict.brake or not self._alive:
            return self._verdict.brake
        hosts = ", ".join(sorted({one.host for one in self._alive}))
        return (
            f"{hosts} is silent, and the other halves of {len(self._alive)} pairs there stand by: it serves them, "
            "or they are ill; they are not placed elsewhere until those take over, or `astara brake release`"
        )

    @property
    def verdict(self) -> Verdict:
        """Which nodes are given up, or why none is."""
        return self._verdict

    def drained(self) -> dict[str, str]:
        """Return the nodes an operator wants empty, each with the reason."""
        return {key.id: why for key, why in self._engine.holds.all().items() if key.driver == NODE}

    def silent(self) -> dict[str, float]:
        """Return for how many seconds each node has not answered; 0 while it does."""
        return {node.name: node.silent_s for node in self._nodes()}

    def left(self) -> Counter[str]:
        """Count what is still on each node that is left; of the last survey here."""
        return Counter(one.host for one in self._survey.lodgers)

    def homeless(self) -> Counter[str]:
        """Count what is on each node that is left and finds no room elsewhere."""
        return Counter(one.host for one in self._homeless)

    def release(self) -> None:
        """An operator says that the nodes that are silent now are really dead, until they answer."""
        self._pardoned = frozenset(node.name for node in self._nodes() if node.silent_s > 0)

    def look(self) -> float:
        """Go on with what is to be left, if that is ours to do; returns the seconds until the next look."""
        nodes = self._nodes()
        self._pardoned &= frozenset(node.name for node in nodes if node.silent_s > 0)
        self._judged(judge(nodes, self._options.node_patience_s, self._pardoned))
        term = self._engine.share.ownership.term(NODES)
        sources = self._verdict.dead | frozenset(node.name for node in nodes if node.drained)
        if term is None or not sources:
            self._forget()
            return IDLE_S
        try:
            return self._leave(nodes, sources, term)
        except Stale as error:
            self._engine.share.ownership.refused()
            _log.info("evacuation.not-ours", reason=str(error))
        except AstaraError as error:
            _log.warning("evacuation.waits", reason=str(error), remedy=error.remedy)
        return IDLE_S

    def _judged(self, verdict: Verdict) -> None:
        before, self._verdict = self._verdict, verdict
        if verdict.brake and not before.brake:
            _log.warning("node-brake-engaged", reason=verdict.brake)
        for host in sorted(verdict.dead - before.dead):
            _log.warning("node.given-up", node=host, silent_for_s=self._options.node_patience_s)

    def _forget(self) -> None:
        self._in_work.clear()
        self._refused.clear()
        self._survey, self._homeless, self._alive = _Survey(at=_NONE), (), ()

    def _leave(self, nodes: Sequence[NodeStand], sources: frozenset[str], term: int) -> float:
        self._settle()
        self._surveyed(sources)
        chosen = self._chosen(nodes)
        if chosen and self._clock.now() - self._survey.at >= SURVEY_S:
            self._survey_now(sources)  # there is room again: what was found long ago is no reason to move anything
            chosen = self._chosen(nodes)
        for move in chosen:
            self._place(move, term)
        waiting = len(self._survey.lodgers) > len(self._homeless)
        return BUSY_S if waiting or self._in_work else IDLE_S

    def _chosen(self, nodes: Sequence[NodeStand]) -> Sequence[Move]:
        now = self._clock.now()
        self._refused = {key: until for key, until in self._refused.items() if until > now}
        dead, load = self._verdict.dead, self._survey.load
        self._alive = alive(self._survey.lodgers, dead, self._pardoned)
        stays = {*self._refused, *(one.key for one in self._alive)}
        lodgers = [one for one in self._survey.lodgers if one.key not in stays]
        working = {key: placed.hosts for key, placed in self._in_work.items()}
        chosen, self._homeless = moves(lodgers, nodes, dead, load, working, self._options.budget)
        return chosen

    def _surveyed(self, sources: frozenset[str]) -> None:
        if sources != self._survey.sources or self._clock.now() - self._survey.at >= self._survey.for_s:
            self._survey_now(sources)

    def _survey_now(self, sources: frozenset[str]) -> None:
        now, before = self._clock.now(), self._survey
        load: Counter[str] = Counter()
        found: list[Lodger] = []
        for one in self._engine.looks.survey():
            load.update(instance.host for instance in one.observed.instances)
            found.extend(_lodgers(one, sources))
        unheld = tuple(one for one in found if self._engine.holds.reason(one.key) is None)
        moving = self._stirred or self._in_work or sources != before.sources
        at_most_s = WAITING_S if any(one.heard or not one.spared for one in unheld) else NOTHING_MOVES_S
        self._survey = _Survey(now, SURVEY_S if moving else min(2 * before.for_s, at_most_s), unheld, load, sources)
        self._stirred = False

    def _settle(self) -> None:
        """Strike out what serves, what does not for too long, and what somebody placed back where it was."""
        for key, placed in tuple(self._in_work.items()):
            phase: Phase | None = None
            undone = False
            try:
                seen = self._engine.glance(key)
            except AstaraError as error:
                _log.info("evacuation.cannot-look", key=str(key), reason=str(error))
            else:
                phase, undone = seen.plan.phase, _is_there(seen.desired, placed.lodger)
            late = self._clock.now() - placed.at > GIVEN_UP_S
            if late or undone or phase in (Phase.CONFIGURED, Phase.SURPLUS, Phase.GONE):
                del self._in_work[key]
                self._stirred = True
            if undone:
                self._survey = replace(self._survey, for_s=0.0)
            if late or undone:
                _log.warning("evacuation.not-done", key=str(key), phase=phase, undone=undone)

    def _place(self, move: Move, term: int) -> None:
        """Raises Stale, and Retry: others may fare as this one did, and come first the next time."""
        lodger = move.lodger
        try:
            self._neutron.place(((move.kind, lodger.key.id, move.to),), term)
        except (Retry, Terminal, Gone) as error:
            self._refused[lodger.key] = self._clock.now() + REFUSED_S
            _log.warning("evacuation.not-placed", key=str(lodger.key), to=move.to, reason=str(error))
            if isinstance(error, Retry):
                raise
            return
        dead = lodger.host in self._verdict.dead
        hosts = frozenset({move.to} if dead else {move.to, lodger.host})
        self._in_work[lodger.key] = _Placed(lodger, hosts, self._clock.now())
        self._stirred = True
        self._survey.load[move.to] += 1
        # The others of its slots were found beside one that is no longer there: the next survey knows better.
        left = tuple(one for one in self._survey.lodgers if one.key != lodger.key)
        self._survey = replace(self._survey, lodgers=left, for_s=min(self._survey.for_s, SURVEY_S))
        why = "does not answer" if dead else "is drained"
        self._tell(lodger.key, f"place {move.kind} on {move.to}: node {lodger.host} {why}")
        self._engine.instance_changed(lodger.key, f"node {lodger.host} {why}")


def _is_there(desired: DesiredState, lodger: Lodger) -> bool:
    """Return whether it is wished for on the node it shall leave: an older wish may have been carried out meanwhile."""
    match desired:
        case Present(instances=wanted):
            return any(slot.host == lodger.host for slot in wanted[lodger.position : lodger.position + 1])
        case PortNeeded(host=host):
            return host == lodger.host
        case _:
            return False


def _lodgers(one: Surveyed, sources: frozenset[str]) -> Iterator[Lodger]:
    if isinstance(one.desired, PortNeeded) and one.desired.host in sources:
        yield Lodger(key=one.key, reads=one.reads, position=0, host=one.desired.host, body=None)
    wanted = one.desired.instances if isinstance(one.desired, Present) else ()
    for position, slot in enumerate(wanted):
        if slot.host not in sources:
            continue
        others = [other for other in wanted if other.slot != slot.slot]
        mine = [seen for seen in one.observed.instances if (seen.slot, seen.host) == (slot.slot, slot.host)]
        beside = [[seen for seen in one.observed.instances if _serves(other, seen)] for other in others]
        yield Lodger(
            key=one.key,
            reads=one.reads,
            position=position,
            host=slot.host,
            body=slot.provider,
            others=frozenset(other.host for other in others),
            spared=all(beside),
            heard=bool(others) and all(_plays(found, Role.STANDBY, Role.YIELDING) for found in beside),
            active=_plays(mine, Role.ACTIVE),
        )


def _plays(found: Sequence[ObservedInstance], *roles: Role) -> bool:
    return any(seen.role in roles for seen in found)


def _serves(wanted: DesiredInstance, seen: ObservedInstance) -> bool:
    return seen.health is Health.HEALTHY and (seen.slot, seen.host) == (wanted.slot, wanted.host)
