"""The upgrade under way, carried on by whoever owns it in the ring: look at its resources, decide, record.

All that matters is in the records; who takes over looks and goes on. The resources themselves are upgraded by their
owners, who read in the records what is wished of them (docs/design/upgrade.md).
"""

from __future__ import annotations

import structlog

from astara.model.boundaries import Clock
from astara.model.errors import AstaraError, Stale
from astara.model.operator import HistoryLine
from astara.model.resource import ObservedInstance, Present, ResourceKey
from astara.model.upgrade import Item, Stage, State, Upgrade, UpgradeWish
from astara.planning.rollout import Budget, Decision, decide, in_turn
from astara.reconcile.engine import Engine
from astara.reconcile.probing import Probing, unseen, well
from astara.reconcile.resync import Surveyed

_log = structlog.get_logger(__name__)
#: Whoever owns this decides about upgrades.
UPGRADE = ResourceKey("cluster", "upgrade")
#: Seconds: between looks while nothing is under way, while something is in work, and while that stands.
IDLE_S, BUSY_S, STANDING_S = 2.0, 1.0, 10.0


class Upgrading:
    """One thread calls `look`. `wall` of the clock is compared with what others wrote: their clocks should agree."""

    def __init__(self, engine: Engine, clock: Clock, budget: Budget, who: str) -> None:
        self._engine = engine
        self._clock = clock
        self._budget = budget
        self._who = who
        self._probing = Probing(engine, clock)

    def look(self) -> float:
        """Carry the upgrade on by one step, if it is ours to decide; returns the seconds until the next look."""
        term = self._engine.share.ownership.term(UPGRADE)
        if term is None:
            self._probing.forget()
            return IDLE_S
        try:
            return self._step(term)
        except Stale as error:
            self._engine.share.ownership.refused()
            _log.info("upgrade.not-ours", reason=str(error))
        except AstaraError as error:
            _log.warning("upgrade.waits", reason=str(error), remedy=error.remedy)
        return IDLE_S

    def _step(self, term: int) -> float:
        upgrade = self._engine.upgrades.newest()
        if upgrade is None or upgrade.state is not State.RUNNING:
            self._probing.forget()
        if upgrade is None or upgrade.state is State.DONE:
            return IDLE_S
        if not upgrade.collected:
            if upgrade.state is State.ABORTED:
                return IDLE_S
            self._collect(upgrade, term)
            return 0.0
        return self._decide(upgrade, term)

    def _decide(self, upgrade: Upgrade, term: int) -> float:
        if upgrade.term != term:  # before looking: what whoever decided before us began later, we would not see
            self._engine.upgrades.advance(upgrade, term, Decision())
        items = self._engine.upgrades.items(upgrade.number)
        working = any(item.stage is Stage.WORK for item in items)
        if upgrade.state.over and not working:
            return IDLE_S
        self._engine.reread()
        probes = self._probing.probes(upgrade, items)
        besides = self._probing.still_in_work(upgrade)
        decision = decide(upgrade, items, probes, self._clock.wall(), self._budget, self._waits(), besides)
        if not decision.empty:
            self._tell(upgrade, self._engine.upgrades.advance(upgrade, term, decision))
            self._engine.reread()
        if upgrade.state is not State.RUNNING:
            return STANDING_S
        return BUSY_S if working or decision.begin else IDLE_S

    def _waits(self) -> str:
        return "the brake is on" if self._engine.brake().engaged else ""

    # Which resources

    def _collect(self, upgrade: Upgrade, term: int) -> None:
        wish, engine = upgrade.wish, self._engine
        if wish.back_of is not None:
            now = self._clock.wall()
            begun = [one for one in engine.upgrades.items(wish.back_of) if one.stage is not Stage.WAITING]
            back = [Item(one.key, Stage.WAITING, one.hosts, now, one.before, one.image) for one in begun]
            engine.upgrades.collect(upgrade.number, term, back, baseline=1.0, known=None)
            return
        found: list[Item] = []
        known: set[ResourceKey] = set()
        ill = seen = 0
        for one in engine.looks.survey():
            known.add(one.key)
            if engine.holds.reason(one.key) is None and (item := _concerned(wish, one, self._clock.wall())) is not None:
                found.append(item)
                seen += not unseen(one.observed)
                ill += not (unseen(one.observed) or well(one.observed))
        baseline = ill / seen if seen else 0.0
        engine.upgrades.collect(upgrade.number, term, in_turn(found), baseline, known)
        _log.info("upgrade.collected", number=upgrade.number, resources=len(found), ill=ill)

    def _tell(self, upgrade: Upgrade, decision: Decision) -> None:
        steps = [(key, "begun") for key in decision.begin] + [(key, "verified") for key in decision.done]
        steps += [(key, "left alone, it is held") for key in decision.struck]
        for key, what in steps:
            self._witness(upgrade, key, f"upgrade {upgrade.number}: {what}", "done")
        if decision.state is not None:
            _log.warning("upgrade.ends", number=upgrade.number, state=decision.state, why=decision.why)
            outcome = "done" if decision.state is State.DONE else "refused"
            self._witness(upgrade, None, f"upgrade {upgrade.number} {decision.state}", outcome, decision.why)

    def _witness(self, upgrade: Upgrade, key: ResourceKey | None, step: str, outcome: str, detail: str = "") -> None:
        line = HistoryLine(
            at=self._clock.wall(),
            reason="upgrade",
            phase="",
            steps=(step,),
            outcome=outcome,
            detail=detail,
            who=self._who,
        )
        self._engine.witness(key, line)


def _concerned(wish: UpgradeWish, one: Surveyed, now: float) -> Item | None:
    """Return the item of a resource that runs something else than is asked for; None when it does not."""
    if not isinstance(one.desired, Present):
        return None
    wanted = [instance for instance in one.desired.instances if instance.provider == wish.kind]
    if not wanted or (wish.image is not None and any(instance.image is not None for instance in wanted)):
        return None  # a flavor that names an image says what its routers are made from
    seen = [instance for instance in one.observed.instances if instance.provider == wish.kind]
    if wish.image is not None and seen and all(_runs(wish, instance) for instance in seen):
        return None
    hosts = frozenset(instance.host for instance in wanted)
    before = next((instance.image for instance in seen if instance.image is not None), None)
    return Item(one.key, Stage.WAITING, hosts, now, wish.image, before)


def _runs(wish: UpgradeWish, instance: ObservedInstance) -> bool:
    if None not in (wish.digest, instance.image_digest):
        return wish.digest == instance.image_digest
    return wish.image == instance.image
