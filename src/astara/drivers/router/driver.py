"""The router driver: a Neutron router becomes one service instance, or a pair of them. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from astara.contract.agent import PortAttachment
from astara.contract.codec import digest
from astara.contract.snapshot import NetworkPage, NetworkSnapshot, PortSnapshot, RouterPage, RouterSnapshot
from astara.drivers.router.members import Member, members
from astara.drivers.router.schema import RouterSection
from astara.drivers.router.section import router_section, served_floating_ips, unreachable_routes
from astara.model.boundaries import DriverOptions, Event, RouterWorld, World
from astara.model.resource import Absent, Binding, DesiredInstance, DesiredState, Present, ResourceKey, StatusTargets

NAME = "router"
#: Neutron's binding:vif_type -> how the node plugs the port (entry points `astara.attach`).
ATTACH_KINDS = {"bridge": "bridge", "ovs": "ovs"}


class RouterDriver:
    """Which events concern a router, and what its instance shall be."""

    name = NAME
    summary = "Neutron routers: routing, SNAT, floating IPs, port forwardings, router advertisements"
    reads = "router"

    def __init__(self, options: DriverOptions) -> None:
        self._options = options

    def keys_for(self, event: Event) -> Iterable[ResourceKey]:
        """Name the routers a notification names itself.

        What only names a subnet, a port of a server or a floating IP taken off its router yields
        nothing here: the plug-in knows the router and sends `astara.hint`.
        """
        return [ResourceKey(NAME, identifier) for identifier in event.ids.get("router", ())]

    def keys_in(self, page: RouterPage | NetworkPage) -> Iterable[ResourceKey]:
        """Name every router of a bulk page but those whose flavor names another driver."""
        if isinstance(page, RouterPage):
            routers = (one for one in page.routers if one.flavor_metainfo.get("driver", NAME) == NAME)
            return [ResourceKey(NAME, router.id) for router in routers]
        return []

    def desired(self, key: ResourceKey, world: World) -> DesiredState:
        """Turn the snapshot of one router into the wish: one instance or a pair, also before its first port.

        Raises:
            TypeError: `world` is a network's.
        """
        if not isinstance(world, RouterWorld):
            raise TypeError(f"{NAME} driver reads routers")
        if world.router is None or world.router.flavor_metainfo.get("driver", NAME) != NAME:
            return Absent(world.revision)  # gone, or of a flavor that names another driver
        return self._present(world.router, world)

    def _present(self, router: RouterSnapshot, world: RouterWorld) -> Present:
        ports = _ports(router)
        # Placed with its first port at the latest; before, there is nothing to serve and nothing to wait for.
        hosts = _hosts(router)
        obstacles = [_no_node(router) if ports else None, *(_not_plugged(port, hosts) for port in ports)]
        obstacles += _no_pair(router)
        moving = [_being_bound(port) for port in ports if router.members]
        obstacles += _unreachable(router, world.networks)
        return Present(
            revision=world.revision,
            project_id=router.project_id,
            name=router.name,
            # Neutron takes a port off one node before it binds it to the other: the halves have it all the same.
            instances=() if any(moving) else self._instances(router, world.networks),
            status=_status_targets(router, world.networks),
            unmet="; ".join(filter(None, (*moving, *obstacles))) or None,
            binding=_binding(router),
        )

    def _instances(self, router: RouterSnapshot, networks: dict[str, NetworkSnapshot]) -> tuple[DesiredInstance, ...]:
        """Wish for the router as far as its ports can be plugged: one bad port does not stop the others."""
        usable = _plugged(router)
        section = router_section(usable, networks)
        plugged = [member for member in members(router, networks) if _heart_plugged(member)]
        return tuple(self._instance(usable, member, section, networks) for member in plugged)

    def _instance(
        self, router: RouterSnapshot, member: Member, section: RouterSection, networks: dict[str, NetworkSnapshot]
    ) -> DesiredInstance:
        section = structs.replace(section, pair=member.pair)
        ports = _ports(router) if member.port is None else [*_ports(router), member.port]
        return DesiredInstance(
            slot=member.slot,
            provider=router.flavor_metainfo.get("body") or self._options.default_provider,
            host=member.host,
            ports=tuple(_attachment(port, networks) for port in ports),
            section=section,
            digest=digest(section),
            image=router.flavor_metainfo.get("image") or None,
        )


def _plugged(router: RouterSnapshot) -> RouterSnapshot:
    hosts = _hosts(router)
    return structs.replace(
        router,
        interfaces=tuple(port for port in router.interfaces if _not_plugged(port, hosts) is None),
        gateways=tuple(gateway for gateway in router.gateways if _not_plugged(gateway.port, hosts) is None),
    )


def _ports(router: RouterSnapshot) -> list[PortSnapshot]:
    return sorted((*router.interfaces, *(gateway.port for gateway in router.gateways)), key=lambda port: port.id)


def _no_node(router: RouterSnapshot) -> str | None:
    if router.host:
        return None
    return f"no node serves router {router.id}: start a node agent, or list one under [nodes], and see `astara status`"


def _hosts(router: RouterSnapshot) -> tuple[str | None, ...]:
    """Return where the router is: a pair's ports are bound to one of its nodes, and plugged on both."""
    return (router.host, *(member.host for member in router.members if member.host))


def _no_pair(router: RouterSnapshot) -> list[str | None]:
    if not router.ha:
        return []
    if not router.members:
        return [
            f"a pair: router {router.id} has no ports for its halves: they come with the next announcement of nodes"
        ]
    homeless = "a second node: it runs alone until one more is announced, see `astara node list`"
    return [homeless if not member.host else _not_plugged(member.port, (member.host,)) for member in router.members]


def _heart_plugged(member: Member) -> bool:
    return member.port is None or _not_plugged(member.port, (member.host,)) is None


def _not_plugged(port: PortSnapshot, hosts: tuple[str | None, ...]) -> str | None:
    """Say in words why a port cannot be plugged on the router's nodes; None when it can."""
    if port.vif_type not in ATTACH_KINDS:
        return (
            f"port {port.id} is {port.vif_type} on node {port.host or '(none)'}: "
            "check that an ML2 mechanism driver serves its network there, then set its binding again"
        )
    if port.host not in hosts:
        where = f"port {port.id} is bound to node {port.host}, its router to {hosts[0]}"
        return f"{where}: Neutron is moving it; nothing to do"
    return None


def _being_bound(port: PortSnapshot) -> str | None:
    if port.vif_type != "unbound" or not port.host:
        return None
    return f"port {port.id} is being bound to node {port.host}, where the active half is: nothing to do"


def _unreachable(router: RouterSnapshot, networks: dict[str, NetworkSnapshot]) -> list[str]:
    return [
        f"route {route.destination} via {route.nexthop} is left out, no interface reaches its next hop: "
        "add the interface, or remove the route"
        for route in unreachable_routes(_plugged(router), networks)
    ]


def _attachment(port: PortSnapshot, networks: dict[str, NetworkSnapshot]) -> PortAttachment:
    network = networks.get(port.network_id) or NetworkSnapshot(id=port.network_id)
    return PortAttachment(
        port_id=port.id,
        mac=port.mac_address,
        network_id=port.network_id,
        mtu=network.mtu,
        attach=ATTACH_KINDS[port.vif_type],
        network_type=network.network_type,
        physical_network=network.physical_network,
        segmentation_id=network.segmentation_id,
    )


def _hearts(router: RouterSnapshot) -> list[PortSnapshot]:
    return [one.port for one in router.members if one.host and _not_plugged(one.port, (one.host,)) is None]


def _status_targets(router: RouterSnapshot, networks: dict[str, NetworkSnapshot]) -> StatusTargets:
    """Name what this router's health shows on; a port that cannot be plugged keeps the status Neutron gave it."""
    usable = _plugged(router)
    floating = served_floating_ips(usable, networks)
    return StatusTargets(
        routers=((router.id, router.status),),
        ports=tuple((port.id, port.status) for port in (*_ports(usable), *_hearts(router))),
        floating_ips=tuple(sorted((address.id, address.status) for address in floating)),
    )


def _binding(router: RouterSnapshot) -> Binding | None:
    hosts = tuple(sorted({port.host for port in _ports(_plugged(router)) if port.host}))
    return Binding(router.id, hosts) if hosts and len(_hearts(router)) > 1 else None
