"""The whole engine, wired: the one object the runtime starts, feeds with events, and asks on behalf of operators."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from msgspec import structs

from astara.model.boundaries import Clock, Driver, Event, InstanceProvider, NeutronApi
from astara.model.errors import Gone
from astara.model.operator import ORCHESTRATOR, AuditLine, AuditQuery, HistoryLine, ResourceLine
from astara.model.resource import DesiredState, ObservedInstance, ResourceKey
from astara.planning.bodies import Offers
from astara.planning.brake import Brake
from astara.planning.classify import Phase
from astara.planning.steps import words
from astara.reconcile.bodies import Bodies
from astara.reconcile.boundaries import Metrics, NoMetrics, NoUpgrades, Ownership, Records, Upgrades
from astara.reconcile.brakes import BrakeKeeper
from astara.reconcile.editions import Editions
from astara.reconcile.executor import Executor
from astara.reconcile.following import Following
from astara.reconcile.holds import Holds
from astara.reconcile.inbox import Inbox, Lane
from astara.reconcile.ledger import Ledger
from astara.reconcile.observer import Observer
from astara.reconcile.options import EngineOptions
from astara.reconcile.reconciler import Planner, Reconciler, Seen
from astara.reconcile.rereading import Rereading
from astara.reconcile.resync import Looks
from astara.reconcile.schedule import Schedule
from astara.reconcile.share import Share
from astara.reconcile.statuses import StatusWriter
from astara.reconcile.worker import Workers

_log = structlog.get_logger(__name__)
#: So long after the last event the next one is still expected to arrive.
FEED_TRUSTED_S = 60.0


@dataclass(frozen=True, slots=True)
class Inspection:
    """One resource, looked at now. `steps` is what would be done, in words; empty while it is held."""

    line: ResourceLine
    desired: DesiredState
    instances: tuple[ObservedInstance, ...]
    unreachable_hosts: frozenset[str]
    steps: tuple[str, ...]


class Engine:
    """Keeps every resource of the enabled drivers as Neutron wishes it. Implements EventSink.

    The constructor does no I/O. `drivers` and `providers` are keyed by name. `ownership` says what it works on, and
    under which term: that fences off whoever has a smaller one. `offers` says which bodies can be had now; by
    default those of all `providers`, everywhere. `who` stands in history beside what this engine does.
    """

    def __init__(
        self,
        *,
        neutron: NeutronApi,
        drivers: Mapping[str, Driver],
        providers: Mapping[str, InstanceProvider],
        records: Records,
        clock: Clock,
        ownership: Ownership,
        options: EngineOptions | None = None,
        metrics: Metrics | None = None,
        offers: Callable[[], Offers] | None = None,
        upgrades: Upgrades | None = None,
        who: str = ORCHESTRATOR,
        random_value: Callable[[], float] = random.random,
    ) -> None:
        self.options = options or EngineOptions()
        self.metrics = metrics or NoMetrics()
        self.share = Share(ownership)
        self._drivers = drivers
        self._clock = clock
        self._records = records
        self._heard_at = float("-inf")
        self._owned_before = ownership.epoch > 0
        policy = self.options.policy
        self.ledger = Ledger(clock, policy)
        self.inbox = Inbox(clock, self.share.takes, self.ledger.tenant)
        self.holds = Holds(records)
        everything = frozenset(providers)
        self.upgrades = upgrades or NoUpgrades()
        self.bodies = Bodies(
            records,
            offers or (lambda: Offers(installed=everything, enabled=everything)),
            Editions(self.upgrades),
        )
        self._rereading = Rereading(records, self.holds, self.bodies, self.metrics, self._said_elsewhere)
        self._brake = BrakeKeeper(self.ledger, clock, policy.brake)
        following = Following(neutron, clock)
        planner = Planner(self.ledger, self._brake, clock, policy, providers, following)
        observer = Observer(neutron, drivers, providers, self.bodies, clock, self.options, self.metrics)
        statuses = StatusWriter(neutron, clock, self.options, self.metrics)
        self.looks = looks = Looks(
            neutron,
            drivers,
            providers,
            self.bodies,
            planner,
            self.ledger,
            self.inbox,
            self.holds,
            self.share,
            clock,
            self.metrics,
            page_limit=self.options.page_limit,
            events_arrive=self._events_arrive,
        )
        self.schedule = Schedule(looks, clock, self.options, random_value, self.metrics)
        self._reconciler = Reconciler(
            observer,
            planner,
            Executor(neutron, providers, statuses, following, records, clock, self.metrics),
            self.ledger,
            self.holds,
            records,
            clock,
            self.metrics,
            doubt=self.schedule.doubt,
            share=self.share,
            who=who,
            deadline_s=self.options.reconcile_deadline_s,
            random_value=random_value,
        )
        self.workers = Workers(self.inbox, self._reconciler, self.options.workers, self.metrics)

    # Life

    def start(self) -> None:
        """Start the workers and the resync thread; the first full look follows at once."""
        self.load()
        self._rereading.start()
        self.workers.start()
        self.schedule.start()

    def stop(self, drain_s: float = 10.0) -> bool:
        """Take no new work, let running reconciles end; True when all ended within `drain_s`."""
        give_up_at = self._clock.now() + drain_s
        self._rereading.stop(0.0)
        quiet = self.schedule.stop(drain_s)
        return self.workers.stop(max(0.0, give_up_at - self._clock.now())) and quiet

    def load(self) -> None:
        """Read what operators said; raises BadConfiguration when that cannot be known."""
        self._rereading.load()

    def reread(self) -> None:
        """Hear at once of what operators said to another orchestrator; a thread does it every second."""
        self._rereading.look()

    # EventSink, and the providers' own change feeds

    def notify(self, event: Event) -> None:
        """Mark every resource the event concerns for another look. Never blocks, never raises."""
        self._heard_at = self._clock.now()
        count = 0
        for name, driver in self._drivers.items():
            try:
                keys = tuple(driver.keys_for(event))
            except Exception:  # noqa: BLE001 - one driver's bug must not cost the others their events; it is logged
                _log.exception("event-not-understood", driver=name, event_type=event.type)
                continue
            for key in keys:
                self.inbox.add(key, event.type)
            count += len(keys)
        self.metrics.event(event.type, count)

    def resync(self, reason: str) -> None:
        """Look at everything again through bulk calls (a feed was interrupted, a node agent restarted)."""
        self.schedule.came_back(reason)

    def instance_changed(self, key: ResourceKey, reason: str = "instance") -> None:
        """A provider saw this resource's instance change by itself: look again."""
        if key.driver in self._drivers:
            self.inbox.add(key, reason)

    # Ownership

    @property
    def term(self) -> int:
        """The greatest term this process knows of."""
        return self.share.ownership.epoch

    def ring_changed(self) -> None:
        """Let go of what is another's now, and look at once at what became ours, and at nothing else."""
        ownership = self.share.ownership
        lost = [key for key in {*self.ledger.known(), *self.inbox.keys()} if not self.share.takes(key)]
        for key in lost:
            self.inbox.forget(key)
            self.ledger.forget(key)
        gained = self.share.gained()
        if self._owned_before:
            for key in gained:
                self.inbox.add(key, "ring", Lane.BACKGROUND)
        else:
            self.schedule.request_full("the first ring")  # by bulk calls: of nothing anything is known yet
        self._owned_before = True
        _log.info("ring-changed", epoch=ownership.epoch, lost=len(lost), gained=len(gained))

    # What an operator may ask

    def look(self, key: ResourceKey | None) -> int:
        """Queue one resource (also one nobody knows yet), or all; forgets their back-off. Returns how many.

        Raises Gone for a driver that is not enabled: such a look would fail, and be made again, for ever; and for a
        resource that is another orchestrator's.
        """
        if key is not None:
            self._must_be_ours(key)
            self._look_eagerly(key, Lane.FRESH)
            return 1
        keys = self.ledger.known()
        for known in keys:
            self._look_eagerly(known, Lane.BACKGROUND)
        self.schedule.request_full("operator")
        return len(keys)

    def resources(self) -> tuple[ResourceLine, ...]:
        """Every resource as last seen."""
        return tuple(self._with_present(line) for line in self.ledger.lines())

    def inspect(self, key: ResourceKey) -> Inspection:
        """Observe now and say what would be done; touches nothing.

        Raises Gone when nobody knows the resource, Retry when Neutron or a provider is away.
        """
        self._must_have_driver(key)
        seen = self._reconciler.look(key)
        lines = self.ledger.lines([key])
        if not lines and seen.plan.phase is Phase.GONE:
            raise Gone(f"no resource {key}", "see `astara resource list`")
        line = lines[0] if lines else ResourceLine(key=str(key), name="", project_id="", phase=seen.plan.phase.value)
        held = self.holds.reason(key) is not None
        return Inspection(
            line=self._with_present(line),
            desired=seen.desired,
            instances=seen.observed.instances,
            unreachable_hosts=seen.observed.unreachable_hosts,
            steps=() if held else tuple(words(step) for step in seen.plan.steps),
        )

    def glance(self, key: ResourceKey) -> Seen:
        """Observe one resource now, whosever it is, and plan for it; touches nothing. Raises Retry, Terminal."""
        return self._reconciler.look(key)

    def history(self, key: ResourceKey) -> tuple[HistoryLine, ...]:
        """What was done about this resource, oldest first; from the records, or from memory when they fail."""
        return tuple(self._records.history(key)) or self.ledger.history(key)

    def audit(self, query: AuditQuery) -> Sequence[AuditLine]:
        """What was done by whom, oldest first; raises Retry when the records cannot be read."""
        return self._records.audit(query)

    def witness(self, key: ResourceKey | None, line: HistoryLine) -> None:
        """Remember what somebody else did: an operator, the pool, the process itself."""
        if key is not None:
            self.ledger.append(key, line)
        self._records.append(key, line)

    def hold(self, key: ResourceKey, reason: str) -> None:
        """Take our hands off a resource; durable, or raises Retry (and holds until a restart)."""
        self._must_have_driver(key)
        self.holds.hold(key, reason)
        self.inbox.add(key, "operator: hold")

    def release(self, key: ResourceKey) -> None:
        """Give it back and look at it at once."""
        self._must_have_driver(key)
        self.holds.release(key)
        self._look_eagerly(key, Lane.FRESH)

    def move(self, key: ResourceKey, body: str | None) -> None:
        """Have the resource run in another body from now on, None: in the one its flavor or the configuration says.

        Raises Gone for a resource nobody knows, Terminal for a body that cannot be had, Retry when the choice will not
        survive a restart.
        """
        self._must_have_driver(key)
        if not self.ledger.knows(key):
            raise Gone(f"no resource {key}", "see `astara resource list`")
        try:
            self.bodies.choose(key, body)
        finally:
            self._look_eagerly(key, Lane.FRESH)

    def rebuild(self, key: ResourceKey) -> None:
        """Replace every instance of a resource, one at a time; raises Gone when it has none, or is not ours."""
        self._must_be_ours(key)
        inspection = self.inspect(key)
        if not inspection.instances or not self.ledger.knows(key):
            raise Gone(f"{key} has no instance to rebuild", "see `astara resource show`")
        self.ledger.condemn(key, frozenset(instance.id for instance in inspection.instances))
        self._look_eagerly(key, Lane.FRESH)

    def brake(self) -> Brake:
        """The brake against mass rebuilds, as of now."""
        return self._brake.judged()

    def release_brake(self) -> None:
        """The operator says: those instances are really dead."""
        self._brake.release()
        for key in self.ledger.silent()[0]:
            self._look_eagerly(key, Lane.BACKGROUND)

    def _said_elsewhere(self, keys: frozenset[ResourceKey]) -> None:
        for key in keys:
            if key.driver in self._drivers:
                self._look_eagerly(key, Lane.FRESH)

    def _events_arrive(self) -> bool:
        return self._clock.now() - self._heard_at < FEED_TRUSTED_S

    def _look_eagerly(self, key: ResourceKey, lane: Lane) -> None:
        self.ledger.eager(key)
        self.inbox.add(key, "operator", lane)

    def _must_have_driver(self, key: ResourceKey) -> None:
        if key.driver not in self._drivers:
            known = ", ".join(sorted(self._drivers))
            raise Gone(f"no driver {key.driver!r} is enabled", f"enabled are: {known}")

    def _must_be_ours(self, key: ResourceKey) -> None:
        self._must_have_driver(key)
        if not self.share.takes(key):
            raise Gone(f"{key} is another orchestrator's", "`astara cluster --of KEY` says whose: ask there")

    def _with_present(self, line: ResourceLine) -> ResourceLine:
        """Fill in what the ledger does not know: holds, and when the next look is due."""
        key = ResourceKey.parse(line.key)
        reason = self.holds.reason(key)
        due = self.inbox.next_look_at(key)
        next_look_in_s = None if due is None else max(0.0, round(due - self._clock.now(), 1))
        return structs.replace(line, held=reason is not None, hold_reason=reason or "", next_look_in_s=next_look_in_s)
