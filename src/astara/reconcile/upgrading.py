"""The upgrade under way, carried on by whoever owns it in the ring: look at its resources, decide, record.

All that matters is in the records; who takes over looks and goes on. The resources themselves are upgraded by their
owners, who read in the records what is wished of them (docs/design/upgrade.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from astara.contract.agent import Health, StateView
from astara.model.boundaries import Clock
from astara.model.errors import AstaraError, Stale
from astara.model.operator import HistoryLine
from astara.model.resource import ObservedInstance, ObservedState, Present, ResourceKey
from astara.model.upgrade import Item, Stage, State, Upgrade, UpgradeWish
from astara.planning.classify import Phase
from astara.planning.rollout import Budget, Decision, Probe, decide, in_turn
from astara.reconcile.engine import Engine
from astara.reconcile.resync import Listing, Surveyed

_log = structlog.get_logger(__name__)
#: Whoever owns this decides about upgrades.
UPGRADE = ResourceKey("cluster", "upgrade")
#: Seconds: between looks while nothing is under way, while something is in work, and while that stands.
IDLE_S, BUSY_S, STANDING_S = 2.0, 1.0, 10.0
#: What is ill for less is what node agents mend by themselves.
ILL_AFTER_S = 10.0
#: So old may be what is known of those that are done, once the canary was found well: every node is asked for it.
LISTED_S = 5.0


class Upgrading:
    """One thread calls `look`. `wall` of the clock is compared with what others wrote: their clocks should agree."""

    def __init__(self, engine: Engine, clock: Clock, budget: Budget, who: str) -> None:
        self._engine = engine
        self._clock = clock
        self._budget = budget
        self._who = who
        self._ill_since: dict[ResourceKey, float] = {}
        self._gone: set[ResourceKey] = set()
        #: Of the upgrade before, by the number of the present one: what may still be in work.
        self._before: dict[int, Sequence[Item]] = {}
        self._listed: tuple[float, Listing] | None = None

    def look(self) -> float:
        """Carry the upgrade on by one step, if it is ours to decide; returns the seconds until the next look."""
        term = self._engine.share.ownership.term(UPGRADE)
        if term is None:
            self._forget()
            return IDLE_S
        try:
            return self._step(term)
        except Stale as error:
            self._engine.share.ownership.refused()
            _log.info("upgrade.not-ours", reason=str(error))
        except AstaraError as error:
            _log.warning("upgrade.waits", reason=str(error), remedy=error.remedy)
        return IDLE_S

    def _forget(self) -> None:
        """What is ill when somebody looks again has to stay so for a while once more; until then nothing is begun."""
        self._ill_since.clear()
        self._gone.clear()
        self._before.clear()
        self._listed = None

    def _step(self, term: int) -> float:
        upgrade = self._engine.upgrades.newest()
        if upgrade is None or upgrade.state is not State.RUNNING:
            self._forget()
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
        probes = self._probes(upgrade, items)
        besides = self._still_in_work(upgrade)
        decision = decide(upgrade, items, probes, self._clock.wall(), self._budget, self._waits(), besides)
        if not decision.empty:
            self._tell(upgrade, self._engine.upgrades.advance(upgrade, term, decision))
            self._engine.reread()
        if upgrade.state is not State.RUNNING:
            return STANDING_S
        return BUSY_S if working or decision.begin else IDLE_S

    def _still_in_work(self, upgrade: Upgrade) -> Sequence[Item]:
        """Return what the upgrade before left in work and is not settled yet, nor late."""
        if upgrade.state is not State.RUNNING:
            return ()
        if upgrade.number not in self._before:
            before = self._engine.upgrades.items(upgrade.number - 1)
            self._before = {upgrade.number: [item for item in before if item.stage is Stage.WORK]}
        since = self._clock.wall() - upgrade.wish.deadline_s
        left = [item for item in self._before[upgrade.number] if item.since >= since and not self._settled(item.key)]
        self._before[upgrade.number] = left
        return left

    def _settled(self, key: ResourceKey) -> bool:
        try:
            return self._engine.glance(key).plan.phase in (Phase.CONFIGURED, Phase.GONE)
        except AstaraError:
            return False

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
                seen += not _unseen(one.observed)
                ill += not (_unseen(one.observed) or _well(one.observed))
        baseline = ill / seen if seen else 0.0
        engine.upgrades.collect(upgrade.number, term, in_turn(found), baseline, known)
        _log.info("upgrade.collected", number=upgrade.number, resources=len(found), ill=ill)

    # How they do

    def _probes(self, upgrade: Upgrade, items: Sequence[Item]) -> Mapping[ResourceKey, Probe]:
        held = {item.key for item in items if self._engine.holds.reason(item.key) is not None}
        probes = {key: Probe(held=True) for key in held}
        judged = [item for item in items if item.key not in held]
        probes |= {item.key: self._of_work(upgrade, item) for item in judged if item.stage is Stage.WORK}
        done = [item for item in judged if item.stage is Stage.DONE]
        if done and upgrade.state is State.RUNNING:
            listing = self._listing(upgrade)
            probes |= {item.key: self._of_done(item.key, listing.of(item.key)) for item in done}
        return probes

    def _listing(self, upgrade: Upgrade) -> Listing:
        now = self._clock.wall()
        if self._listed is not None and upgrade.soaked_at is not None:
            at, listing = self._listed
            if upgrade.soaked_at <= at <= now < at + LISTED_S:
                return listing
        self._listed = (now, self._engine.looks.listing())
        return self._listed[1]

    def _of_work(self, upgrade: Upgrade, item: Item) -> Probe:
        key = item.key
        try:
            seen = self._engine.glance(key)
        except AstaraError as error:
            return Probe(because=f"cannot look: {error}")
        plan = seen.plan
        if plan.phase is Phase.GONE:
            return Probe(verified=True, because="gone")
        kind, edition = upgrade.wish.kind, upgrade.edition
        mine = [one for one in seen.observed.instances if one.provider == kind]
        others = [one for one in mine if one.edition not in (None, edition)]
        if made_of := [one.image_digest for one in mine if not others and _of_another(upgrade.wish, one)]:
            return Probe(because=f"made from {made_of[0]}, although {upgrade.wish.digest} is asked for")
        configured = plan.phase is Phase.CONFIGURED and not plan.acts
        if configured and not others and isinstance(seen.desired, Present) and seen.desired.instances:
            self._ill_since.pop(key, None)
            return Probe(verified=True)
        failed = [one for one in seen.observed.instances if _failed(one) and one.edition in (None, edition)]
        hopeless = self._engine.ledger.attempts(key).tries >= self._engine.options.policy.failure_budget
        ill = hopeless or self._stays(key, bool(failed))
        late = self._clock.wall() - item.since > upgrade.wish.deadline_s
        return Probe(ill=ill, because=(self._told(key) if ill or late else "") or plan.because)

    def _told(self, key: ResourceKey) -> str:
        """Return what stands in its way; of what another orchestrator owns, the last that this one recorded."""
        if lines := self._engine.ledger.lines([key]):
            return lines[0].because
        failed = (line.detail for line in reversed(self._engine.history(key)) if line.outcome != "done")
        return next(filter(None, failed), "")

    def _of_done(self, key: ResourceKey, observed: ObservedState) -> Probe:
        if key in self._gone:
            return Probe()
        if _unseen(observed):
            return Probe(unseen=True)
        if _well(observed):
            self._ill_since.pop(key, None)
            return Probe()
        if not observed.instances and self._is_gone(key):
            self._gone.add(key)
            return Probe()
        lasting = self._stays(key, ill=True)
        return Probe(ill=lasting, doubtful=not lasting, because=_ailment(observed))

    def _is_gone(self, key: ResourceKey) -> bool:
        try:
            return self._engine.glance(key).plan.phase is Phase.GONE
        except AstaraError:
            return False

    def _stays(self, key: ResourceKey, ill: bool) -> bool:
        if not ill:
            self._ill_since.pop(key, None)
            return False
        now = self._clock.now()
        return now - self._ill_since.setdefault(key, now) >= ILL_AFTER_S

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


def _of_another(wish: UpgradeWish, instance: ObservedInstance) -> bool:
    """Return whether it is known to be made from another content: an image may have been replaced under its name."""
    return None not in (wish.digest, instance.image_digest) and wish.digest != instance.image_digest


def _failed(instance: ObservedInstance) -> bool:
    return isinstance(instance.state, StateView) and instance.state.health is Health.FAILED


def _well(observed: ObservedState) -> bool:
    states = [instance.state for instance in observed.instances]
    return bool(states) and all(isinstance(state, StateView) and state.health is Health.HEALTHY for state in states)


def _unseen(observed: ObservedState) -> bool:
    """Return whether nothing is known of it: it may be on a node that does not answer."""
    return not observed.instances and bool(observed.unreachable_hosts)


def _ailment(observed: ObservedState) -> str:
    if not observed.instances:
        return "its instances are gone"
    for instance in observed.instances:
        state = instance.state
        if not isinstance(state, StateView):
            return f"{instance.id[:8]} on {instance.host} does not answer"
        if state.health is not Health.HEALTHY:
            details = "; ".join(f"{deviation.subsystem}: {deviation.detail}" for deviation in state.deviations)
            return f"{instance.id[:8]} on {instance.host} is {state.health}: {state.last_error or details}"
    return "unknown"
