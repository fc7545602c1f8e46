"""The frr driver: routers whose flavor's metainfo says `driver: frr`. Plain routing, nothing translated. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from astara.contract.agent import PortAttachment
from astara.contract.codec import digest
from astara.contract.snapshot import (
    NetworkPage,
    NetworkSnapshot,
    PortSnapshot,
    RouterPage,
    RouterSnapshot,
    SubnetSnapshot,
)
from astara.model.boundaries import DriverOptions, Event, RouterWorld, World
from astara.model.resource import Absent, DesiredInstance, DesiredState, Present, ResourceKey, StatusTargets
from astara_frr.schema import FrrSection, Link, Route

NAME = "frr"
_ATTACH_KINDS = {"bridge": "bridge", "ovs": "ovs"}
_DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}


class FrrDriver:
    """Which events concern such a router, and what its instance shall be."""

    name = NAME
    summary = "Neutron routers of a flavor that names it: routed by FRR, nothing translated"
    reads = "router"

    def __init__(self, options: DriverOptions) -> None:
        self._options = options

    def keys_for(self, event: Event) -> Iterable[ResourceKey]:
        """Name them all: whose a router is, only its flavor says."""
        return [ResourceKey(NAME, identifier) for identifier in event.ids.get("router", ())]

    def keys_in(self, page: RouterPage | NetworkPage) -> Iterable[ResourceKey]:
        routers = page.routers if isinstance(page, RouterPage) else ()
        return [ResourceKey(NAME, router.id) for router in routers if _ours(router)]

    def desired(self, key: ResourceKey, world: World) -> DesiredState:
        if not isinstance(world, RouterWorld):
            raise TypeError(f"{NAME} driver reads routers")
        router = world.router
        if router is None or not _ours(router):
            return Absent(world.revision)
        plugged = [port for port in _ports(router) if port.vif_type in _ATTACH_KINDS and port.host == router.host]
        waiting = [
            f"port {port.id} is not bound to node {router.host}" for port in _ports(router) if port not in plugged
        ]
        return Present(
            revision=world.revision,
            project_id=router.project_id,
            name=router.name,
            instances=(self._instance(router, router.host, plugged, world.networks),) if router.host else (),
            status=StatusTargets(
                routers=((router.id, router.status),), ports=tuple((port.id, port.status) for port in plugged)
            ),
            unmet="; ".join(waiting) or None,
        )

    def _instance(
        self, router: RouterSnapshot, host: str, ports: list[PortSnapshot], networks: dict[str, NetworkSnapshot]
    ) -> DesiredInstance:
        section = _section(router, ports, networks)
        return DesiredInstance(
            slot="0",
            provider=router.flavor_metainfo.get("body") or self._options.default_provider,
            host=host,
            ports=tuple(_attachment(port, networks) for port in ports),
            section=section,
            digest=digest(section),
            image=router.flavor_metainfo.get("image") or None,
        )


def _ours(router: RouterSnapshot) -> bool:
    return router.flavor_metainfo.get("driver") == NAME


def _ports(router: RouterSnapshot) -> list[PortSnapshot]:
    return sorted((*router.interfaces, *(gateway.port for gateway in router.gateways)), key=lambda port: port.id)


def _section(router: RouterSnapshot, ports: list[PortSnapshot], networks: dict[str, NetworkSnapshot]) -> FrrSection:
    """Say what the instance needs of Neutron's rows, sorted: equal wishes have equal digests."""
    subnets = {subnet.id: subnet for network in networks.values() for subnet in network.subnets}
    near = [
        (port, fixed.ip_address, subnets[fixed.subnet_id])
        for port in ports
        for fixed in port.fixed_ips
        if fixed.subnet_id in subnets
    ]
    links = tuple(
        Link(
            mac=port.mac_address,
            mtu=networks[port.network_id].mtu,
            addresses=tuple(sorted(f"{own}/{ip_network(net.cidr).prefixlen}" for one, own, net in near if one is port)),
        )
        for port in ports
    )
    outside = {gateway.port.id for gateway in router.gateways}
    defaults = {
        (_DEFAULT[net.ip_version], net.gateway_ip) for port, _, net in near if port.id in outside and net.gateway_ip
    }
    reached = [net for _, _, net in near]
    wished = defaults | {(one.destination, one.nexthop) for one in router.routes if _reaches(one.nexthop, reached)}
    return FrrSection(
        router_id=router.id,
        enabled=router.admin_state_up,
        links=links,
        routes=tuple(Route(destination=to, nexthop=by) for to, by in sorted(wished)),
    )


def _reaches(nexthop: str, subnets: Iterable[SubnetSnapshot]) -> bool:
    return any(ip_address(nexthop) in ip_network(subnet.cidr) for subnet in subnets)


def _attachment(port: PortSnapshot, networks: dict[str, NetworkSnapshot]) -> PortAttachment:
    network = networks[port.network_id]
    return PortAttachment(
        port_id=port.id,
        mac=port.mac_address,
        network_id=port.network_id,
        mtu=network.mtu,
        attach=_ATTACH_KINDS[port.vif_type],
        network_type=network.network_type,
        physical_network=network.physical_network,
        segmentation_id=network.segmentation_id,
    )
