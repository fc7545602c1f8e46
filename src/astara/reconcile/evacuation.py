"""Leaves nodes that are dead or drained: whoever owns the nodes in the ring places elsewhere what is on them, in turns.

Nothing is remembered that could not be asked: what is in work is what was placed and does not serve yet. Losing it
costs the budget once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from astara.contract.agent import Health, Role, StateView
from astara.model.boundaries import Clock, NeutronApi
from astara.model.errors import AstaraError, Retry, Stale
from astara.model.resource import DesiredInstance, ObservedInstance, Present, ResourceKey
from astara.planning.classify import Phase
from astara.planning.housing import Lodger, Move, NodeStand, Verdict, judge, moves
from astara.planning.rollout import Budget
from astara.reconcile.engine import Engine
from astara.reconcile.resync import Surveyed

_log = structlog.get_logger(__name__)
#: Whoever owns this announces the nodes and empties them.
NODES = ResourceKey("cluster", "nodes")
#: In holds: `node/NAME` is a node that is drained, with the reason.
NODE = "node"
IDLE_S, BUSY_S = 2.0, 1.0
#: A survey is as dear as a full look: how long what it found is used, and how long nothing, when it found nothing.
SURVEY_S, NOTHING_LEFT_S = 10.0, 60.0
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
    lodgers: tuple[Lodger, ...] = ()
    load: Counter[str] | None = None
    sources: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Placed:
    hosts: frozenset[str]
    at: float


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
        self._survey = _Survey(at=float("-inf"))
        self._verdict = Verdict()
        self._homeless: tuple[Lodger, ...] = ()

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
        except Retry as error:
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
        self._survey, self._homeless = _Survey(at=float("-inf")), ()

    def _leave(self, nodes: Sequence[NodeStand], sources: frozenset[str], term: int) -> float:
        self._settle()
        self._surveyed(sources)
        load = self._survey.load or Counter()
        working = {key: placed.hosts for key, placed in self._in_work.items()}
        dead = self._verdict.dead
        chosen, self._homeless = moves(self._survey.lodgers, nodes, dead, load, working, self._options.budget)
        for move in chosen:
            self._place(move, term)
        return BUSY_S if self._survey.lodgers or self._in_work else IDLE_S

    def _surveyed(self, sources: frozenset[str]) -> None:
        now, before = self._clock.now(), self._survey
        fresh_s = SURVEY_S if before.lodgers or self._in_work else NOTHING_LEFT_S
        if sources == before.sources and now - before.at < fresh_s:
            return
        load: Counter[str] = Counter()
        found: list[Lodger] = []
        for one in self._engine.looks.survey():
            load.update(instance.host for instance in one.observed.instances)
            found.extend(_lodgers(one, sources))
        unheld = [one for one in found if self._engine.holds.reason(one.key) is None]
        self._survey = _Survey(now, tuple(unheld), load, sources)

    def _settle(self) -> None:
        """Strike out what serves, and what does not for too long."""
        for key, placed in tuple(self._in_work.items()):
            try:
                phase: Phase | None = self._engine.glance(key).plan.phase
            except AstaraError:
                phase = None
            late = self._clock.now() - placed.at > GIVEN_UP_S
            if late or phase in (Phase.CONFIGURED, Phase.SURPLUS, Phase.GONE):
                del self._in_work[key]
                self._survey = _Survey(at=float("-inf"), sources=self._survey.sources)
            if late:
                _log.warning("evacuation.gave-up-waiting", key=str(key), phase=phase)

    def _place(self, move: Move, term: int) -> None:
        lodger = move.lodger
        self._neutron.place(((move.kind, lodger.key.id, move.to),), term)
        hosts = frozenset({move.to} if lodger.host in self._verdict.dead else {move.to, lodger.host})
        self._in_work[lodger.key] = _Placed(hosts, self._clock.now())
        left = tuple(one for one in self._survey.lodgers if one is not lodger)
        self._survey = _Survey(self._survey.at, left, self._survey.load, self._survey.sources)
        why = "does not answer" if lodger.host in self._verdict.dead else "is drained"
        self._tell(lodger.key, f"place {move.kind} on {move.to}: node {lodger.host} {why}")
        self._engine.instance_changed(lodger.key, f"node {lodger.host} {why}")


def _lodgers(one: Surveyed, sources: frozenset[str]) -> Iterator[Lodger]:
    wanted = one.desired.instances if isinstance(one.desired, Present) else ()
    for position, slot in enumerate(wanted):
        if slot.host not in sources:
            continue
        others = [other for other in wanted if other.slot != slot.slot]
        mine = [seen for seen in one.observed.instances if (seen.slot, seen.host) == (slot.slot, slot.host)]
        yield Lodger(
            key=one.key,
            reads=one.reads,
            position=position,
            host=slot.host,
            body=slot.provider,
            others=frozenset(other.host for other in others),
            spared=all(any(_serves(other, seen) for seen in one.observed.instances) for other in others),
            active=any(isinstance(seen.state, StateView) and seen.state.role is Role.ACTIVE for seen in mine),
        )


def _serves(wanted: DesiredInstance, seen: ObservedInstance) -> bool:
    well = isinstance(seen.state, StateView) and seen.state.health is Health.HEALTHY
    return well and (seen.slot, seen.host) == (wanted.slot, wanted.host)
