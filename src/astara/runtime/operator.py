"""What an operator may ask, answered from the running parts. Implements model.operator.Operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from astara.installed import own_version
from astara.intake.tally import Counts
from astara.model.boundaries import EventFeed, InstanceProvider
from astara.model.errors import AstaraError, Gone, Retry
from astara.model.operator import (
    AuditLine,
    AuditQuery,
    CheckLine,
    ClusterView,
    FeedLine,
    HistoryLine,
    InstanceLine,
    NodeDetail,
    NodeLine,
    PluginLine,
    PoolLine,
    ResourceDetail,
    ResourceLine,
    StatusSummary,
    UpgradeRequest,
    UpgradeView,
)
from astara.model.resource import ObservedInstance, Present, ResourceKey, Unknown
from astara.reconcile.engine import Engine
from astara.reconcile.sources import sources
from astara.records.store import RecordsStanding
from astara.runtime import plugins
from astara.runtime.pairs import of_pairs
from astara.runtime.rolling import Rolling


class CountingFeed(EventFeed, Protocol):
    """A feed that says what it heard."""

    def counts(self) -> Counts:
        """Return what was heard so far."""
        ...


@dataclass(frozen=True)
class Parts:
    """The running orchestrator, taken apart. `trouble` says what is wrong with Neutron, None when nothing is."""

    engine: Engine
    feeds: Sequence[CountingFeed]
    providers: Mapping[str, InstanceProvider]
    drivers: Sequence[str]
    nodes: Callable[[], Sequence[NodeLine]]
    trouble: Callable[[], str | None]
    checks: Callable[[], Sequence[CheckLine]]
    pool: Callable[[], Sequence[PoolLine]]
    records: Callable[[], RecordsStanding]
    started_at: float
    cluster: Callable[[str | None, ResourceKey | None], ClusterView]
    rolling: Rolling
    #: In words, from memory: alone, or one of how many.
    membership: Callable[[], str] = lambda: "alone"


class RunningOperator:
    """The operator's view of this process. Reads from memory, except where a question is about the world now."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._engine = parts.engine

    def status(self) -> StatusSummary:
        """Summarise, without asking anybody."""
        engine, brake = self._engine, self._engine.brake()
        lines = self._parts.nodes()
        return StatusSummary(
            version=own_version(),
            started_at=self._parts.started_at,
            term=engine.term,
            neutron=self._parts.trouble() or "ok",
            records=self._records(),
            feeds=tuple(_feed_line(feed) for feed in self._parts.feeds),
            nodes=tuple(lines),
            phases=engine.ledger.phases(),
            resources=len(engine.ledger.known()),
            instances=sum(line.instances or 0 for line in lines),
            queue=engine.inbox.depth,
            working=engine.inbox.working,
            braked=brake.engaged or bool(self._parts.rolling.node_brake),
            brake_reason="; ".join(filter(None, (brake.reason, self._parts.rolling.node_brake))),
            last_resync_at=engine.schedule.full_at,
            cluster=self._parts.membership(),
        )

    def _records(self) -> str:
        unwritten = self._engine.holds.unwritten + self._engine.bodies.unwritten
        waits = f"{unwritten} of what operators said not written yet" if unwritten else "ok"
        return self._parts.records().trouble or waits

    def resources(self) -> Sequence[ResourceLine]:
        """Return every resource as last seen."""
        return self._engine.resources()

    def resource(self, key: ResourceKey) -> ResourceDetail:
        """Look at one resource now; raises Gone, Retry."""
        seen = self._engine.inspect(key)
        wanted = seen.desired.instances[0] if isinstance(seen.desired, Present) and seen.desired.instances else None
        return ResourceDetail(
            resource=seen.line,
            instances=tuple(instance_line(instance, seen.unreachable_hosts) for instance in seen.instances),
            plan=seen.steps,
            body=self._engine.bodies.chosen(key) if wanted is None else wanted.provider,
            body_chosen=self._engine.bodies.chosen(key) is not None,
            image=None if wanted is None else wanted.image,
        )

    def history(self, key: ResourceKey) -> Sequence[HistoryLine]:
        """Return what was done about one resource; raises Gone when nothing ever was."""
        lines = self._engine.history(key)
        if not lines and not self._engine.ledger.knows(key):
            raise Gone(f"no resource {key}", "see `astara resource list`")
        return lines

    def audit(self, query: AuditQuery) -> Sequence[AuditLine]:
        """Return what was done by whom; raises Retry."""
        return self._engine.audit(query)

    def instances(self) -> Sequence[InstanceLine]:
        """Ask every provider now; raises Retry when one is away."""
        return [instance_line(instance, silent) for instance, silent in self._observed()]

    def console_log(self, instance_id: str) -> str:
        """Return the console log; raises Gone, Retry."""
        for instance, _ in self._observed():
            if instance.id == instance_id:
                return self._parts.providers[instance.provider].console_log(instance)
        raise Gone(f"no instance {instance_id}", "see `astara instance list`")

    def rebuild(self, key: ResourceKey) -> None:
        """Replace every instance of a resource."""
        self._engine.rebuild(key)

    def hold(self, key: ResourceKey, reason: str) -> None:
        """Take our hands off a resource."""
        self._engine.hold(key, reason)

    def release(self, key: ResourceKey) -> None:
        """Give a resource back."""
        self._engine.release(key)

    def move(self, key: ResourceKey, body: str | None) -> None:
        """Run a resource in another body."""
        self._engine.move(key, body)

    def release_brake(self) -> None:
        """Let go of the brake."""
        self._engine.release_brake()
        self._parts.rolling.release_brake()

    def resync(self, key: ResourceKey | None) -> int:
        """Look again at one resource or at all; returns how many were queued."""
        return self._engine.look(key)

    def drivers(self) -> Sequence[PluginLine]:
        """Return the installed drivers."""
        return plugins.lines(plugins.DRIVERS, self._parts.drivers)

    def providers(self) -> Sequence[PluginLine]:
        """Return the installed providers."""
        return plugins.lines(plugins.PROVIDERS, self._parts.providers)

    def cluster(self, without: str | None = None, of: ResourceKey | None = None) -> ClusterView:
        """Say who shares the work; raises Gone."""
        return self._parts.cluster(without, of)

    def nodes(self) -> Sequence[NodeDetail]:
        """Say of each node how it stands, and what is on its way from it."""
        return self._parts.rolling.nodes()

    def drain(self, host: str, reason: str) -> None:
        """Have a node left."""
        self._parts.rolling.drain(host, reason)

    def undrain(self, host: str) -> None:
        """Let a node have new work again."""
        self._parts.rolling.undrain(host)

    def upgrade(self) -> UpgradeView:
        """Say how far the newest upgrade has come."""
        return self._parts.rolling.upgrade()

    def begin_upgrade(self, request: UpgradeRequest) -> UpgradeView:
        """Begin an upgrade."""
        return self._parts.rolling.begin_upgrade(request)

    def pause_upgrade(self) -> UpgradeView:
        """Begin nothing more for now."""
        return self._parts.rolling.pause_upgrade()

    def resume_upgrade(self) -> UpgradeView:
        """Go on."""
        return self._parts.rolling.resume_upgrade()

    def abort_upgrade(self, *, back: bool) -> UpgradeView:
        """End it for good."""
        return self._parts.rolling.abort_upgrade(back=back)

    def doctor(self) -> Sequence[CheckLine]:
        """Check the installation."""
        try:
            pairs = list(of_pairs(self.instances()))
        except AstaraError:
            pairs = []  # who is away has a line of its own
        return [*self._parts.checks(), *pairs, *self._parts.rolling.checks()]

    def pool(self) -> Sequence[PoolLine]:
        """Return the shelves of warm instances."""
        return self._parts.pool()

    def _observed(self) -> Iterator[tuple[ObservedInstance, frozenset[str]]]:
        away: AstaraError | None = None
        for source in sources(self._parts.providers):
            try:
                listing = source.lister.list()
            except Retry as error:
                away = error
                continue
            yield from ((instance, listing.unreachable_hosts) for instance in listing.instances)
        if away is not None:
            raise away


def _feed_line(feed: CountingFeed) -> FeedLine:
    counts = feed.counts()
    return FeedLine(
        name=feed.name,
        connected=feed.connected(),
        events=counts.events,
        unknown=counts.unknown,
        last_event_at=counts.last_event_at,
    )


def instance_line(instance: ObservedInstance, unreachable_hosts: frozenset[str]) -> InstanceLine:
    """Return the operator's line of one instance; what its silent host last said is not shown as true."""
    state = instance.state
    resource = "" if instance.key is None else str(instance.key)
    if isinstance(state, Unknown) or instance.host in unreachable_hosts:
        return InstanceLine(
            id=instance.id,
            resource=resource,
            slot=instance.slot,
            provider=instance.provider,
            host=instance.host,
            health="unreachable",
            digest=None,
            generation=None,
            ports=len(instance.ports),
            created_at=instance.created_at,
            image=instance.image,
        )
    return InstanceLine(
        id=instance.id,
        resource=resource,
        slot=instance.slot,
        provider=instance.provider,
        host=instance.host,
        health=state.health.value,
        digest=state.digest,
        generation=None if state.generation is None else str(state.generation),
        ports=len(instance.ports),
        created_at=instance.created_at,
        image=instance.image,
        image_digest=instance.image_digest,
        deviations=state.deviations,
        repairs=state.repairs,
        last_error=state.last_error,
        role=None if state.role is None else state.role.value,
    )
