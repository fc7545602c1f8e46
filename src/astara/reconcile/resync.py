"""The net under the events: looks at many resources at once, none of which asks Neutron per resource.

full     every page of Neutron's wish beside one listing of every provider; at start, after a feed was
         interrupted, and rarely besides. A resource that is as wished costs no call of its own.
changes  Neutron's change journal since the last look: one call of constant cost.
drift    one listing of every provider beside the remembered wish: drift, orphans, hosts that came back.
alive    does Neutron answer? One call of constant cost, made only while that is in doubt.

Each only *queues* what does not look right; the ordinary reconcile looks again and acts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import structlog

from astara.contract.agent import StateView
from astara.contract.snapshot import Change, NetworkPage, RouterPage
from astara.model.boundaries import Clock, Driver, InstanceProvider, NeutronApi, World
from astara.model.errors import Retry
from astara.model.resource import Absent, DesiredState, ObservedInstance, ObservedState, Present, ResourceKey
from astara.planning.classify import Phase, classify
from astara.planning.plan import Plan
from astara.planning.status import following
from astara.reconcile.bodies import Bodies
from astara.reconcile.boundaries import Metrics
from astara.reconcile.holds import Holds
from astara.reconcile.inbox import Inbox, Lane
from astara.reconcile.journal import Journal
from astara.reconcile.ledger import NEW, Ledger, Look, settles
from astara.reconcile.observer import network_worlds, router_worlds
from astara.reconcile.reconciler import Planner, Seen
from astara.reconcile.share import Share
from astara.reconcile.sources import sources

_log = structlog.get_logger(__name__)

# A little lateness is no reason to look twice.
_SLACK_S = 1.0
# No journal reaches that far: it answers with its revision and not one row.
_BEYOND_ALL = 2**62


@dataclass(frozen=True, slots=True)
class Listing:
    """Every instance of every provider, by resource; `strangers` carry no key and are left alone."""

    instances: Mapping[ResourceKey, tuple[ObservedInstance, ...]]
    unreachable_hosts: frozenset[str]
    strangers: int

    def of(self, key: ResourceKey) -> ObservedState:
        return ObservedState(self.instances.get(key, ()), self.unreachable_hosts)


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One resource in a survey. `reads`: its kind in Neutron, "router" or "network"."""

    key: ResourceKey
    reads: str
    desired: DesiredState
    observed: ObservedState


class Looks:
    """The looks. Each raises Retry when Neutron or a provider is away, having queued what it could."""

    def __init__(
        self,
        neutron: NeutronApi,
        drivers: Mapping[str, Driver],
        providers: Mapping[str, InstanceProvider],
        bodies: Bodies,
        planner: Planner,
        ledger: Ledger,
        inbox: Inbox,
        holds: Holds,
        share: Share,
        clock: Clock,
        metrics: Metrics,
        *,
        page_limit: int,
        events_arrive: Callable[[], bool],
    ) -> None:
        self._neutron = neutron
        self._drivers = drivers
        self._bodies = bodies
        self._sources = sources(providers)
        self._planner = planner
        self._ledger = ledger
        self._inbox = inbox
        self._holds = holds
        self._share = share
        self._clock = clock
        self._metrics = metrics
        self._page_limit = page_limit
        self._events_arrive = events_arrive
        self._journal = Journal()
        #: What the last poll found, by the highest revision, while its event may still be on its way.
        self._expected: dict[ResourceKey, int] = {}
        self._unreachable: frozenset[str] = frozenset()

    def full(self) -> int:
        """Look at everything; returns how many resources were queued."""
        began = self._clock.now()
        before = self._share.elsewhere()
        listing = self._list()
        known: set[ResourceKey] = set()
        queued = 0
        revisions: list[int] = []
        for revision, worlds in self._pages():
            revisions.append(revision)
            for key, world in worlds:
                known.add(key)
                if not self._share.takes(key):
                    continue
                desired = self._bodies.housed(key, self._drivers[key.driver].desired(key, world))
                queued += self._weigh(key, desired, listing, "resync")
        # Changes that came while the pages were read are in the journal after the first page's revision.
        self._journal.begin(min(revisions, default=0))
        self._expected.clear()
        forgotten = (set(listing.instances) | set(self._ledger.known())) - known
        self._share.forget(set(before) - known - set(listing.instances))
        queued += sum(self._queue_unwished(key) for key in forgotten)
        self._note_hosts(listing)
        self._metrics.resynced("full", len(known), queued, self._clock.now() - began)
        _log.info("resync-full", resources=len(known), queued=queued, strangers=listing.strangers)
        return queued

    def survey(self) -> Iterator[Surveyed]:
        """Yield every resource, whosever it is, as it is wished for without upgrades, beside what is seen of it.

        As costly as a full look. Raises Retry when Neutron or a provider is away.
        """
        listing = self._list()
        for _, worlds in self._pages():
            for key, world in worlds:
                desired = self._bodies.as_said(key, self._drivers[key.driver].desired(key, world))
                yield Surveyed(key, self._drivers[key.driver].reads, desired, listing.of(key))

    def listing(self) -> Listing:
        """Return every instance there is; raises Retry."""
        return self._list()

    def changes(self) -> int:
        """Queue what Neutron's journal names; raises JournalTruncated when a full look is needed instead.

        Where events arrive, a change gets until the next poll for its own: an API request commits several times
        before it ends and is told of, and a look in the middle of it would build half a router.
        """
        began = self._clock.now()
        page = self._neutron.changes(self._journal.since)
        if page.truncated:
            raise JournalTruncated(f"the change journal no longer reaches back to {self._journal.since}")
        waits = self._events_arrive()
        before, self._expected = self._expected, {}
        named = {key for key, revision in before.items() if self._ledger.revision(key) < revision}
        for change, late in self._journal.fresh(page):
            for key in filter(self._share.takes, self._keys_of(change)):
                if late:
                    named.add(key)
                elif self._ledger.revision(key) < change.revision:
                    self._expected[key] = change.revision
        if not waits:
            named |= self._expected.keys()
            self._expected = {}
        for key in named:
            self._inbox.add(key, "journal")
        queued = len(named)
        self._metrics.resynced("changes", len(page.changes), queued, self._clock.now() - began)
        return queued

    def drift(self) -> int:
        """Compare what runs with the remembered wish, without asking Neutron."""
        began = self._clock.now()
        listing = self._list()
        recovered = self._note_hosts(listing)
        wishes = self._ledger.wishes()
        queued = sum(self._queue_unwished(key) for key in listing.instances if key not in wishes)
        for key, (desired, attempts, settled) in wishes.items():
            if not self._share.takes(key):
                self._ledger.forget(key)  # a look that ended just when the ring changed noted it once more
                continue
            if settled and attempts is NEW and _as_it_was(desired, listing.of(key)):
                continue  # nearly all of them, nearly always
            if attempts.tries and recovered & _hosts(desired):
                self._ledger.eager(key)
                self._inbox.add(key, "host is back", Lane.BACKGROUND)
                queued += 1
                continue
            queued += self._weigh(key, desired, listing, "drift")
        self._metrics.resynced("drift", len(wishes), queued, self._clock.now() - began)
        return queued

    def alive(self) -> None:
        """Raise what Neutron's plug-in raises; return quietly when it answers."""
        self._neutron.changes(_BEYOND_ALL)

    def hope(self) -> int:
        """Something came back: what failed, or could not even be looked at, because it was away need not wait."""
        self._ledger.hope()
        unseen = self._ledger.unseen()
        for key in unseen:
            self._inbox.add(key, "can be looked at again", Lane.BACKGROUND)
        return len(unseen)

    # What one bulk look finds about one resource

    def _weigh(self, key: ResourceKey, desired: DesiredState, listing: Listing, reason: str) -> int:
        """Queue the resource when something is to be done about it, else take note of it as it is."""
        if self._inbox.working_on(key):
            return 0  # its worker sees more than we do
        seen = self._planner.seen(key, desired, listing.of(key))
        must_look = bool(seen.plan.steps) or self._comes_too_late(key, seen.plan.requeue_after_s)
        if self._holds.reason(key) is not None:
            must_look = not self._ledger.knows(key)  # once, so that operators see it; then hands off
        elif not must_look:
            self._ledger.looked(key, _look(seen))
        if must_look:
            self._inbox.add(key, reason, Lane.BACKGROUND)
        return int(must_look)

    def _comes_too_late(self, key: ResourceKey, requeue_after_s: float | None) -> bool:
        """Return whether the plan wants the resource looked at again sooner than is scheduled."""
        if requeue_after_s is None:
            return False
        scheduled = self._inbox.next_look_at(key)
        return scheduled is None or scheduled > self._clock.now() + requeue_after_s + _SLACK_S

    def _queue_unwished(self, key: ResourceKey) -> int:
        if key.driver not in self._drivers or not self._share.takes(key):
            return 0  # a driver that is not enabled, or another's resource: nobody here may judge its instances
        self._inbox.add(key, "orphan", Lane.BACKGROUND)
        return 1

    def _keys_of(self, change: Change) -> Iterator[ResourceKey]:
        for name, driver in self._drivers.items():
            if driver.reads == change.kind:
                yield ResourceKey(name, change.id)

    # Bulk reading

    def _list(self) -> Listing:
        by_key: dict[ResourceKey, list[ObservedInstance]] = {}
        unreachable: set[str] = set()
        strangers = 0
        for source in self._sources:
            try:
                listing = source.lister.list()
            except Retry as error:
                name = ", ".join(source.providers)
                _log.warning("provider-away", provider=name, error=str(error), remedy=error.remedy)
                raise
            unreachable |= listing.unreachable_hosts
            for instance in listing.instances:
                if instance.key is None:
                    strangers += 1
                else:
                    by_key.setdefault(instance.key, []).append(instance)
        return Listing({key: tuple(found) for key, found in by_key.items()}, frozenset(unreachable), strangers)

    def _pages(self) -> Iterator[tuple[int, list[tuple[ResourceKey, World]]]]:
        kinds = {driver.reads for driver in self._drivers.values()}
        if "router" in kinds:
            marker: str | None = None
            while True:
                page = self._neutron.routers(marker=marker, limit=self._page_limit)
                yield page.revision, list(self._worlds(page, dict(router_worlds(page, [r.id for r in page.routers]))))
                if (marker := page.next) is None:
                    break
        if "network" in kinds:
            marker = None
            while True:
                networks = self._neutron.networks(marker=marker, limit=self._page_limit)
                ids = [network.id for network in networks.networks]
                yield networks.revision, list(self._worlds(networks, dict(network_worlds(networks, ids))))
                if (marker := networks.next) is None:
                    break

    def _worlds(
        self, page: RouterPage | NetworkPage, worlds: Mapping[str, World]
    ) -> Iterator[tuple[ResourceKey, World]]:
        reads = "router" if isinstance(page, RouterPage) else "network"
        for driver in self._drivers.values():
            if driver.reads == reads:
                yield from ((key, worlds[key.id]) for key in driver.keys_in(page) if key.id in worlds)

    def _note_hosts(self, listing: Listing) -> frozenset[str]:
        """Remember who did not answer; returns the hosts that answer again."""
        before, self._unreachable = self._unreachable, listing.unreachable_hosts
        recovered = before - listing.unreachable_hosts
        for host in sorted(listing.unreachable_hosts - before):
            _log.warning("host-unreachable", host=host)
        for host in sorted(recovered):
            _log.info("host-reachable", host=host)
        return recovered


class JournalTruncated(Exception):
    """Too much has changed since the last poll: look at everything."""


def _as_it_was(desired: DesiredState, observed: ObservedState) -> bool:
    """Whether it is configured and, of a pair, bound where its active half is: who is active changes by itself."""
    finding = classify(desired, observed)
    binding = desired.binding if isinstance(desired, Present) else None
    return finding.phase is Phase.CONFIGURED and not following(binding, finding)


def _look(seen: Seen) -> Look:
    plan: Plan = seen.plan
    settled = plan.idle and settles(seen.desired, plan.phase)
    answered = any(isinstance(instance.state, StateView) for instance in seen.observed.instances)
    return Look(seen.desired, plan.phase, "" if settled else plan.because, seen.attempts, settled, answered)


def _hosts(desired: DesiredState) -> frozenset[str]:
    match desired:
        case Present(instances=instances):
            return frozenset(wanted.host for wanted in instances)
        case Absent():
            return frozenset()
        case _:
            return frozenset({desired.host})
