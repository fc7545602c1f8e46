"""Two tiny drivers, so that the engine is tested on its own: routers with slots, networks that need a port."""

from __future__ import annotations

from collections.abc import Iterable

from astara.contract.agent import PortAttachment
from astara.contract.codec import Wire, digest
from astara.contract.snapshot import NetworkPage, PortSnapshot, RouterPage
from astara.model.boundaries import Event, NetworkWorld, RouterWorld, World
from astara.model.resource import (
    Absent,
    Binding,
    DesiredInstance,
    DesiredState,
    PortNeeded,
    Present,
    ResourceKey,
    StatusTargets,
)


class Section(Wire, frozen=True):
    """All a simulated instance is told."""

    name: str
    ports: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


def attachment(port: PortSnapshot) -> PortAttachment:
    return PortAttachment(port_id=port.id, mac=port.mac_address, network_id=port.network_id)


class SlottedRouters:
    """One instance per slot; `flavor_metainfo["slots"]` is e.g. "a,b", by default "a". No host: unmet."""

    name = "router"
    reads = "router"

    def keys_for(self, event: Event) -> Iterable[ResourceKey]:
        return [ResourceKey(self.name, identifier) for identifier in event.ids.get("router", ())]

    def keys_in(self, page: RouterPage | NetworkPage) -> Iterable[ResourceKey]:
        return [ResourceKey(self.name, router.id) for router in page.routers] if isinstance(page, RouterPage) else []

    def desired(self, key: ResourceKey, world: World) -> DesiredState:
        assert isinstance(world, RouterWorld)
        router = world.router
        if router is None:
            return Absent(world.revision)
        section = Section(
            name=router.name,
            ports=tuple(port.id for port in router.interfaces),
            routes=tuple(route.destination for route in router.routes),
        )
        slots = router.flavor_metainfo.get("slots", "a").split(",")
        hosts = (router.host or "").split(",")
        instances = tuple(
            DesiredInstance(
                slot=slot,
                provider=router.flavor_metainfo.get("body", "memory"),
                host=hosts[number % len(hosts)],
                image=router.flavor_metainfo.get("image"),
                ports=tuple(attachment(port) for port in router.interfaces),
                section=section,
                digest=digest(section),
            )
            for number, slot in enumerate(slots)
        )
        return Present(
            revision=world.revision,
            project_id=router.project_id,
            name=router.name,
            instances=instances if router.host else (),
            status=StatusTargets(
                routers=((router.id, router.status),),
                ports=tuple((port.id, port.status) for port in router.interfaces),
                floating_ips=tuple((floating.id, floating.status) for floating in router.floating_ips),
            ),
            unmet=None if router.host else "no node serves this router",
            binding=Binding(router.id, tuple(sorted({port.host for port in router.interfaces if port.host})))
            if router.members
            else None,
        )


class PortedNetworks:
    """One instance per network with a host; it needs a DHCP port there."""

    name = "network"
    reads = "network"

    def keys_for(self, event: Event) -> Iterable[ResourceKey]:
        return [ResourceKey(self.name, identifier) for identifier in event.ids.get("network", ())]

    def keys_in(self, page: RouterPage | NetworkPage) -> Iterable[ResourceKey]:
        return [ResourceKey(self.name, net.id) for net in page.networks] if isinstance(page, NetworkPage) else []

    def desired(self, key: ResourceKey, world: World) -> DesiredState:
        assert isinstance(world, NetworkWorld)
        network = world.network
        if network is None or not network.host:
            return Absent(world.revision)
        ports = [p for p in network.ports if p.device_owner == "network:dhcp" and p.host == network.host]
        if not ports:
            return PortNeeded(world.revision, network.id, network.host)
        section = Section(name=network.name, ports=(ports[0].id,))
        instance = DesiredInstance(
            slot="a",
            provider="memory",
            host=network.host,
            ports=(attachment(ports[0]),),
            section=section,
            digest=digest(section),
        )
        return Present(
            revision=world.revision,
            project_id=network.project_id,
            name=network.name,
            instances=(instance,),
            status=StatusTargets(ports=((ports[0].id, ports[0].status),)),
        )
