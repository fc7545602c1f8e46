"""How the resources of an upgrade do: those in work, those that are done, and what an upgrade before left in work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from astara.contract.agent import Health, StateView
from astara.model.boundaries import Clock
from astara.model.errors import AstaraError
from astara.model.resource import ObservedInstance, ObservedState, Present, ResourceKey
from astara.model.upgrade import Item, Stage, State, Upgrade, UpgradeWish
from astara.planning.classify import Phase
from astara.planning.rollout import Probe
from astara.planning.steps import FollowActive, ReportStatus
from astara.reconcile.engine import Engine
from astara.reconcile.resync import Listing

#: What is ill for less is what node agents mend by themselves.
ILL_AFTER_S = 10.0
#: So old may be what is known of those that are done, once the canary was found well: every node is asked for it.
LISTED_S = 5.0
_SETTLED = (Phase.CONFIGURED, Phase.GONE)


class Probing:
    """Remembers since when somebody is ill; losing that costs a while in which nothing is begun."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._ill_since: dict[ResourceKey, float] = {}
        self._gone: set[ResourceKey] = set()
        #: Of the upgrade before, by the number of the present one: what may still be in work.
        self._before: dict[int, Sequence[Item]] = {}
        self._listed: tuple[float, Listing] | None = None

    def forget(self) -> None:
        """What is ill when somebody looks again has to stay so for a while once more; until then nothing is begun."""
        self._ill_since.clear()
        self._gone.clear()
        self._before.clear()
        self._listed = None

    def probes(self, upgrade: Upgrade, items: Sequence[Item]) -> Mapping[ResourceKey, Probe]:
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
        # Where Neutron binds the ports follows who is active, whatever that half was made from.
        steps = [step for step in plan.steps if not isinstance(step, ReportStatus | FollowActive)]
        configured = plan.phase is Phase.CONFIGURED and not steps
        if configured and not others and isinstance(seen.desired, Present) and seen.desired.instances:
            self._ill_since.pop(key, None)
            return Probe(verified=True)
        failed = any(one.health is Health.FAILED and one.edition in (None, edition) for one in seen.observed.instances)
        hopeless = self._engine.ledger.attempts(key).tries >= self._engine.options.policy.failure_budget
        ill = hopeless or self._stays(key, failed)
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
        if unseen(observed):
            return Probe(unseen=True)
        if well(observed):
            self._ill_since.pop(key, None)
            return Probe()
        if not observed.instances and self._phase(key) is Phase.GONE:
            self._gone.add(key)
            return Probe()
        lasting = self._stays(key, ill=True)
        return Probe(ill=lasting, doubtful=not lasting, because=_ailment(observed))

    def _stays(self, key: ResourceKey, ill: bool) -> bool:
        if not ill:
            self._ill_since.pop(key, None)
            return False
        now = self._clock.now()
        return now - self._ill_since.setdefault(key, now) >= ILL_AFTER_S

    def still_in_work(self, upgrade: Upgrade) -> Sequence[Item]:
        """Return what the upgrade before left in work and is not settled yet, nor late."""
        if upgrade.state is not State.RUNNING:
            return ()
        if upgrade.number not in self._before:
            before = self._engine.upgrades.items(upgrade.number - 1)
            self._before = {upgrade.number: [item for item in before if item.stage is Stage.WORK]}
        since = self._clock.wall() - upgrade.wish.deadline_s
        left = [
            item
            for item in self._before[upgrade.number]
            if item.since >= since and self._phase(item.key) not in _SETTLED
        ]
        self._before[upgrade.number] = left
        return left

    def _phase(self, key: ResourceKey) -> Phase | None:
        """Return how it stands; None when it cannot be looked at."""
        try:
            return self._engine.glance(key).plan.phase
        except AstaraError:
            return None


def _of_another(wish: UpgradeWish, instance: ObservedInstance) -> bool:
    """Return whether it is known to be made from another content: an image may have been replaced under its name."""
    return None not in (wish.digest, instance.image_digest) and wish.digest != instance.image_digest


def well(observed: ObservedState) -> bool:
    """Return whether every instance that is seen is healthy, and there is one."""
    return bool(observed.instances) and all(one.health is Health.HEALTHY for one in observed.instances)


def unseen(observed: ObservedState) -> bool:
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
