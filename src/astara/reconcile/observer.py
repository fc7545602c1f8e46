"""The world of one resource: Neutron's snapshot through merged bulk reads, and every provider's instances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from astara.contract.snapshot import NetworkPage, NetworkSnapshot, RouterPage, RouterSnapshot
from astara.model.boundaries import Clock, Driver, InstanceProvider, NetworkWorld, NeutronApi, RouterWorld, World
from astara.model.errors import Retry, Terminal
from astara.model.resource import DesiredState, ObservedInstance, ObservedState, Present, ResourceKey
from astara.reconcile.bodies import Bodies
from astara.reconcile.boundaries import Metrics
from astara.reconcile.grouping import GroupCommit
from astara.reconcile.options import EngineOptions
from astara.reconcile.sources import sources


class Observer:
    """Reads only. Raises Retry when Neutron or a needed provider is away."""

    def __init__(
        self,
        neutron: NeutronApi,
        drivers: Mapping[str, Driver],
        providers: Mapping[str, InstanceProvider],
        bodies: Bodies,
        clock: Clock,
        options: EngineOptions,
        metrics: Metrics,
    ) -> None:
        self._neutron = neutron
        self._drivers = drivers
        self._bodies = bodies
        self._sources = sources(providers)
        self._clock = clock
        self._metrics = metrics
        limits = {"batch_limit": options.batch_limit}
        deadline_s = options.call_deadline_s
        self._routers: GroupCommit[str, World] = GroupCommit(
            "neutron.routers", self._read_routers, clock, deadline_s=deadline_s, **limits
        )
        self._networks: GroupCommit[str, World] = GroupCommit(
            "neutron.networks", self._read_networks, clock, deadline_s=deadline_s, **limits
        )

    def desired(self, key: ResourceKey) -> DesiredState:
        """Ask Neutron for the present wish; raises Terminal for a driver that is not enabled."""
        driver = self._drivers.get(key.driver)
        if driver is None:
            known = ", ".join(sorted(self._drivers))
            raise Terminal(f"driver {key.driver!r} is not enabled", f"enable it, or use one of: {known}")
        reader = self._routers if driver.reads == "router" else self._networks
        return self._bodies.housed(key, driver.desired(key, reader.ask(key.id)))

    def observed(self, key: ResourceKey, desired: DesiredState) -> ObservedState:
        """Ask every provider: an instance may be left over on one that is no longer wanted.

        A provider that is away matters only when it is wanted; else it counts as a host that did not answer.
        """
        wanted = {i.provider for i in desired.instances} if isinstance(desired, Present) else set()
        instances: list[ObservedInstance] = []
        unreachable: set[str] = set()
        for source in self._sources:
            try:
                listing = source.lister.list(key)
            except Retry:
                if wanted.intersection(source.providers):
                    raise
                unreachable |= {f"provider {name}" for name in source.providers}
                continue
            instances.extend(listing.instances)
            unreachable |= listing.unreachable_hosts
        return ObservedState(tuple(instances), frozenset(unreachable))

    def _read_routers(self, ids: Sequence[str]) -> dict[str, World]:
        began = self._clock.now()
        page = self._neutron.routers(ids=ids, limit=len(ids))
        self._metrics.call("neutron.routers", len(ids), self._clock.now() - began)
        return dict(router_worlds(page, ids))

    def _read_networks(self, ids: Sequence[str]) -> dict[str, World]:
        began = self._clock.now()
        page = self._neutron.networks(ids=ids, limit=len(ids))
        self._metrics.call("neutron.networks", len(ids), self._clock.now() - began)
        return dict(network_worlds(page, ids))


def router_worlds(page: RouterPage, ids: Iterable[str]) -> Iterable[tuple[str, RouterWorld]]:
    """Cut a page into one world per router asked for; a router that is not in it does not exist."""
    routers = {router.id: router for router in page.routers}
    networks = {network.id: network for network in page.networks}
    for identifier in ids:
        router = routers.get(identifier)
        touched = _touched(router) if router is not None else ()
        own: dict[str, NetworkSnapshot] = {n: networks[n] for n in touched if n in networks}
        yield identifier, RouterWorld(page.revision, router, own)


def network_worlds(page: NetworkPage, ids: Iterable[str]) -> Iterable[tuple[str, NetworkWorld]]:
    """Cut a page into one world per network asked for."""
    networks = {network.id: network for network in page.networks}
    for identifier in ids:
        yield identifier, NetworkWorld(page.revision, networks.get(identifier))


def _touched(router: RouterSnapshot) -> Iterable[str]:
    ids = dict.fromkeys(port.network_id for port in router.interfaces)
    ids.update(dict.fromkeys(gateway.port.network_id for gateway in router.gateways))
    ids.update(dict.fromkeys(floating.floating_network_id for floating in router.floating_ips))
    ids.update(dict.fromkeys(member.port.network_id for member in router.members))
    return ids
