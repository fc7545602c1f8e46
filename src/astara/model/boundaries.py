"""The boundaries of the engine: it meets drivers, providers and remote APIs only through these.

Every method may raise the errors of `model.errors` and nothing else on purpose. Every remote call
has a timeout. Absence is success: deleting what is gone returns quietly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from astara.contract.agent import ApplyReport, PortAttachment
from astara.contract.codec import Wire
from astara.contract.generation import Generation
from astara.contract.snapshot import (
    ActiveHalf,
    ChangePage,
    DhcpPortRequest,
    NetworkPage,
    NetworkSnapshot,
    PortSnapshot,
    RouterPage,
    RouterSnapshot,
    StatusReport,
)
from astara.model.resource import DesiredInstance, DesiredState, ObservedInstance, ResourceKey


@dataclass(frozen=True, slots=True)
class Event:
    """A parsed notification: Neutron's event type and the ids its payload names, nothing more.

    `resource` is the part before the first dot ("port"); `ids` maps a kind to ids, e.g.
    {"port": (…,), "network": (…,), "router": (…,), "subnet": (…,)}.
    """

    type: str
    ids: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class RouterWorld:
    """One router and the networks it touches, cut out of a RouterPage."""

    revision: int
    router: RouterSnapshot | None
    networks: dict[str, NetworkSnapshot]


@dataclass(frozen=True, slots=True)
class NetworkWorld:
    """One network, cut out of a NetworkPage."""

    revision: int
    network: NetworkSnapshot | None


World: TypeAlias = RouterWorld | NetworkWorld


@dataclass(frozen=True, slots=True)
class DriverOptions:
    """What the operator configures that drivers need; frozen, handed in."""

    default_provider: str = "namespace"
    #: Of the instances that serve networks; None: as the others.
    network_provider: str | None = None
    domain: str = "openstacklocal"
    upstream_dns: tuple[str, ...] = ()
    metadata: bool = True


class Driver(Protocol):
    """A network service, decided purely: no clock, no I/O, no logger."""

    name: str
    #: One line for the operator: what it serves.
    summary: str
    #: Which snapshot it reads: "router" or "network".
    reads: str

    def keys_for(self, event: Event) -> Iterable[ResourceKey]:
        """Name the resources a notification concerns; empty when none."""
        ...

    def keys_in(self, page: RouterPage | NetworkPage) -> Iterable[ResourceKey]:
        """Name every resource of this driver in a bulk page."""
        ...

    def desired(self, key: ResourceKey, world: World) -> DesiredState:
        """Turn the snapshot into the wish."""
        ...


DriverFactory: TypeAlias = Callable[[DriverOptions], Driver]


class InstanceLister(Protocol):
    """Where instances are seen."""

    def list(self, key: ResourceKey | None = None) -> ProviderListing:
        """Return every instance of ours, or those of one key, with state; names hosts that did not answer."""
        ...


class InstanceProvider(InstanceLister, Protocol):
    """A kind of instance. Creation is idempotent by (key, slot): asking twice makes one.

    A provider may carry an attribute `source`, an InstanceLister it shares with others: one call to it lists the
    instances of all of them, and is made instead of one to each.
    """

    name: str
    #: One line for the operator: what it makes, and where.
    summary: str

    @property
    def capabilities(self) -> frozenset[str]:
        """Of: "hotplug" (attach_port on a live instance), "console-log", "instant", and names of further promises.

        "fenced": who makes, changes or deletes an instance with a generation older than what its place has heard of is
        refused there; without it, who may make one is settled before (Records.claim).
        "instant": a new instance answers as soon as a spare would, so that nobody keeps spares of it.
        "adopt": it is an AdoptingProvider. "cut-over": it is a SeamlessProvider.
        "anywhere": a spare serves whatever host is wished for; `hosts` is one name for all of them.
        """
        ...

    def create(self, key: ResourceKey, wanted: DesiredInstance, generation: Generation) -> ObservedInstance: ...

    def delete(self, instance: ObservedInstance, generation: Generation) -> None: ...

    def attach_port(
        self, instance: ObservedInstance, port: PortAttachment, generation: Generation
    ) -> ObservedInstance: ...

    def detach_port(self, instance: ObservedInstance, port_id: str, generation: Generation) -> ObservedInstance: ...

    def push(self, instance: ObservedInstance, driver: str, section: Wire, generation: Generation) -> ApplyReport:
        """Hand the instance its whole configuration; raises Stale, Terminal (refused, names the field), Retry, Gone."""
        ...

    def console_log(self, instance: ObservedInstance) -> str: ...


class SeamlessProvider(InstanceProvider, Protocol):
    """Says "cut-over": its instances can stand by (DesiredInstance.standby) beside one that has their ports.

    Only one of those is plugged in at any time; each may be of another SeamlessProvider.
    """

    def cut_over(self, instance: ObservedInstance, generation: Generation) -> ObservedInstance:
        """Plug the instance in, and whoever has its ports on its host out, who stands by then. Idempotent.

        What crosses it goes on: the interruption is shorter than what protocols notice.
        """
        ...


@dataclass(frozen=True, slots=True)
class Image:
    """What an instance is made from: its name at the provider, the digest of its content. None: not known, or none."""

    name: str | None = None
    digest: str | None = None


class AdoptingProvider(InstanceProvider, Protocol):
    """Says "adopt": its instances can be made before anybody asks for them (docs/design/pool.md).

    A spare is an instance created for the key `spare/N`: N unplugged NICs for a provider without "hotplug", else 0.
    """

    @property
    def hosts(self) -> Sequence[str]:
        """Where spares can be made: what DesiredInstance.host may be."""
        ...

    def image_now(self, host: str, image: str | None) -> Image:
        """Return what an instance asked for with `image` would be made from now. Raises Retry."""
        ...

    def adopt(
        self, spare: ObservedInstance, key: ResourceKey, wanted: DesiredInstance, generation: Generation
    ) -> ObservedInstance:
        """Have a spare become the instance of (key, slot), with the ports wished for; an instance that is there stays.

        Its agent is asked right before. Of two that want the same spare one gets it; a claim may be repeated, also by
        `create`. Raises Gone when the spare is not there, not a spare any more, or does not answer, and what `create`
        raises; unless it succeeded the spare is as it was. After it no generation older than the claim's is accepted.
        """
        ...


@dataclass(frozen=True, slots=True)
class ProviderListing:
    instances: tuple[ObservedInstance, ...]
    unreachable_hosts: frozenset[str]


class NeutronApi(Protocol):
    """Everything the orchestrator ever asks of Neutron; all of it is served by our plug-in."""

    def routers(self, ids: Sequence[str] | None = None, marker: str | None = None, limit: int = 200) -> RouterPage: ...

    def networks(
        self, ids: Sequence[str] | None = None, marker: str | None = None, limit: int = 200
    ) -> NetworkPage: ...

    def changes(self, since: int) -> ChangePage: ...

    def report_status(self, report: StatusReport, term: int) -> None:
        """Raises Stale when a newer term was heard of there."""
        ...

    def follow_active(self, half: ActiveHalf, term: int) -> None:
        """Bind the ports of a pair to the node of its active half.

        Raises Stale like `report_status`, Retry when they cannot be bound there, Terminal for what is no pair there,
        Unoffered by a plug-in that cannot be asked so.
        """
        ...

    def ensure_dhcp_port(self, request: DhcpPortRequest, term: int) -> PortSnapshot:
        """Raises Stale like `report_status`."""
        ...

    def place(self, placements: Sequence[tuple[str, str, str]], term: int) -> None:
        """Have resources served from other hosts: (kind, id, host), kind "router", "network" or "router/1".

        All of them or none; "router/1" is the second half of a pair. Raises Stale like `report_status`.
        """
        ...

    def announce_nodes(self, hosts: Sequence[tuple[str, bool]]) -> tuple[str, ...]:
        """Tell all nodes, each with whether it may get new work.

        Returns nodes that somebody had announced, and that are unavailable now because they are not among these.
        """
        ...


class EventSink(Protocol):
    """Where intake puts what it heard."""

    def notify(self, event: Event) -> None: ...

    def resync(self, reason: str) -> None:
        """Everything owned must be looked at again: the feed was interrupted."""
        ...


class EventFeed(Protocol):
    """A source of events: RabbitMQ, or Neutron's HTTP notification driver."""

    name: str

    def start(self, sink: EventSink) -> None: ...

    def stop(self) -> None: ...

    def connected(self) -> bool: ...


class Clock(Protocol):
    """Time, so that tests own it. `now` is monotonic seconds; `wall` is seconds since the epoch."""

    def now(self) -> float: ...

    def wall(self) -> float: ...
