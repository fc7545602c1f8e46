"""Router snapshot in, router section out: pure, and the same whatever the order of Neutron's rows."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from astara.contract.snapshot import (
    Bandwidth,
    FixedIP,
    FloatingIPSnapshot,
    GatewaySnapshot,
    NetworkSnapshot,
    PortSnapshot,
    RouterSnapshot,
    SubnetSnapshot,
)
from astara.drivers.router.schema import (
    AdvertisedPrefix,
    ConntrackHelper,
    ExternalLink,
    FloatingIP,
    InternalLink,
    NdpProxy,
    PortForwarding,
    RaMode,
    RouterSection,
    Shaping,
    StaticRoute,
)

#: neutron.agent.linux.ra.MAX_RDNSS_ENTRIES: more make the advertisement grow past what small clients parse.
MAX_RDNSS = 3


class Terrain:
    """The networks around one router, indexed: which subnet an address of a port lies in."""

    def __init__(self, networks: dict[str, NetworkSnapshot]) -> None:
        self._networks = networks
        self._subnets = {subnet.id: subnet for network in networks.values() for subnet in network.subnets}

    def network(self, network_id: str) -> NetworkSnapshot:
        """Return the network, or one with Neutron's defaults when the page did not carry it."""
        return self._networks.get(network_id) or NetworkSnapshot(id=network_id)

    def placed(self, port: PortSnapshot) -> list[tuple[FixedIP, SubnetSnapshot]]:
        """Return the port's addresses with their subnets, IPv4 first, then by address.

        An address whose subnet is not in the snapshot is left out: it was deleted meanwhile, and the
        change journal brings us back.
        """
        known = [
            (fixed, self._subnets[fixed.subnet_id]) for fixed in port.fixed_ips if fixed.subnet_id in self._subnets
        ]
        return sorted(known, key=lambda pair: (pair[1].ip_version, int(ip_address(pair[0].ip_address))))

    def addresses(self, port: PortSnapshot) -> tuple[str, ...]:
        """Return the port's addresses as "10.0.0.1/24"."""
        return tuple(f"{fixed.ip_address}/{ip_network(subnet.cidr).prefixlen}" for fixed, subnet in self.placed(port))


def router_section(router: RouterSnapshot, networks: dict[str, NetworkSnapshot]) -> RouterSection:
    """Return the whole wish for one router instance."""
    terrain = Terrain(networks)
    gateways = sorted(router.gateways, key=lambda gateway: gateway.port.id)
    return RouterSection(
        router_id=router.id,
        enabled=router.admin_state_up,
        internal=tuple(_internal(port, terrain) for port in sorted(router.interfaces, key=lambda port: port.id)),
        external=tuple(_external(gateway, terrain) for gateway in gateways),
        floating_ips=_floating_ips(router, terrain),
        port_forwardings=_port_forwardings(router, terrain),
        routes=_routes(router, terrain),
        conntrack_helpers=tuple(
            ConntrackHelper(protocol=protocol, port=port, helper=helper)
            for protocol, port, helper in sorted({(h.protocol, h.port, h.helper) for h in router.conntrack_helpers})
        ),
        ndp_proxies=_ndp_proxies(router, terrain),
        routed_v6=_routed_v6(router, terrain),
    )


def served_floating_ips(router: RouterSnapshot, networks: dict[str, NetworkSnapshot]) -> list[FloatingIPSnapshot]:
    """Return the floating IPs that really do something here: those have a status to report."""
    terrain = Terrain(networks)
    served = {address.id for address in _floating_ips(router, terrain)}
    forwarding = {rule.floating for rule in _port_forwardings(router, terrain)}
    return [
        floating
        for floating in router.floating_ips
        if floating.id in served or floating.floating_ip_address in forwarding
    ]


def unreachable_routes(router: RouterSnapshot, networks: dict[str, NetworkSnapshot]) -> tuple[StaticRoute, ...]:
    """Return the extra routes whose next hop lies in no subnet of the router: they are left out of the section.

    Neutron refuses to make such a route, and to take away an interface a route needs, but not when both are asked for
    at the same time. A port that cannot be plugged takes the routes through it along.
    """
    served = _routes(router, Terrain(networks))
    return tuple(route for route in _all_routes(router) if route not in served)


def _all_routes(router: RouterSnapshot) -> tuple[StaticRoute, ...]:
    return tuple(
        StaticRoute(destination=destination, nexthop=nexthop)
        for destination, nexthop in sorted({(route.destination, route.nexthop) for route in router.routes})
    )


def _routes(router: RouterSnapshot, terrain: Terrain) -> tuple[StaticRoute, ...]:
    ports = (*router.interfaces, *(gateway.port for gateway in router.gateways))
    subnets = [ip_network(subnet.cidr) for port in ports for _, subnet in terrain.placed(port)]
    return tuple(
        route for route in _all_routes(router) if any(ip_address(route.nexthop) in subnet for subnet in subnets)
    )


def _internal(port: PortSnapshot, terrain: Terrain) -> InternalLink:
    return InternalLink(
        mac=port.mac_address,
        port_id=port.id,
        network_id=port.network_id,
        mtu=terrain.network(port.network_id).mtu,
        addresses=terrain.addresses(port),
        advertise=_advertised(subnet for _, subnet in terrain.placed(port)),
        shaping=_shaping(port.bandwidth),
        scope_v4=_scope(port, terrain, 4),
        scope_v6=_scope(port, terrain, 6),
    )


def _scope(port: PortSnapshot, terrain: Terrain, version: int) -> str:
    """Return the address scope, which all subnets of a network share per IP version (Neutron API "Address scopes")."""
    scopes = (subnet.address_scope_id for _, subnet in terrain.placed(port) if subnet.ip_version == version)
    return next(scopes, None) or ""


def _advertised(subnets: Iterable[SubnetSnapshot]) -> tuple[AdvertisedPrefix, ...]:
    """Name the subnets this router advertises: IPv6 with ipv6_ra_mode set (Neutron API "IPv6 RA mode").

    Without a mode the advertisements are somebody else's, as in neutron.agent.linux.ra.
    """
    wanted = {
        subnet.cidr: AdvertisedPrefix(prefix=subnet.cidr, mode=RaMode(subnet.ipv6_ra_mode), dns_servers=_rdnss(subnet))
        for subnet in subnets
        if subnet.ip_version == 6 and subnet.ipv6_ra_mode
    }
    return tuple(advertised for _, advertised in sorted(wanted.items()))


def _rdnss(subnet: SubnetSnapshot) -> tuple[str, ...]:
    """Return the resolvers to advertise (RFC 8106 carries IPv6 only; "::" is Neutron's word for "none")."""
    usable = (server for server in subnet.dns_nameservers if ":" in server and server != "::")
    return tuple(usable)[:MAX_RDNSS]


def _external(gateway: GatewaySnapshot, terrain: Terrain) -> ExternalLink:
    port = gateway.port
    return ExternalLink(
        mac=port.mac_address,
        port_id=port.id,
        network_id=port.network_id,
        mtu=terrain.network(port.network_id).mtu,
        addresses=terrain.addresses(port),
        nexthops=_nexthops(port, terrain),
        snat_v4=_first_v4(port, terrain) if gateway.enable_snat else None,
        shaping=_shaping(gateway.bandwidth or port.bandwidth),
        scope_v4=_scope(port, terrain, 4),
        scope_v6=_scope(port, terrain, 6),
    )


def _nexthops(port: PortSnapshot, terrain: Terrain) -> tuple[str, ...]:
    by_version: dict[int, str] = {}
    for _, subnet in terrain.placed(port):
        if subnet.gateway_ip:
            by_version.setdefault(subnet.ip_version, subnet.gateway_ip)
    return tuple(by_version[version] for version in sorted(by_version))


def _first_v4(port: PortSnapshot, terrain: Terrain) -> str | None:
    return next((fixed.ip_address for fixed, subnet in terrain.placed(port) if subnet.ip_version == 4), None)


def _shaping(bandwidth: Bandwidth | None) -> Shaping | None:
    """Take Neutron's limits over without turning them round.

    Neutron counts from the bound thing outwards: egress leaves it, ingress enters it. For a floating IP
    and a gateway, neutron.agent.linux.l3_tc_lib puts egress on the root of the external device matching
    the source, so egress leaves towards outside; for an interface port, the port *is* the router's
    device, so egress leaves the router into the tenant network (networking guide, "QoS", direction).
    """
    if bandwidth is None or bandwidth == Bandwidth():
        return None
    return Shaping(
        ingress_kbps=bandwidth.ingress_kbps,
        ingress_burst_kb=bandwidth.ingress_burst_kb,
        egress_kbps=bandwidth.egress_kbps,
        egress_burst_kb=bandwidth.egress_burst_kb,
    )


def _gateway_port_for(network_id: str, router: RouterSnapshot) -> str | None:
    """Return the gateway port towards an external network; with several on one network, always the same one."""
    return min((gateway.port.id for gateway in router.gateways if gateway.port.network_id == network_id), default=None)


def _reaches(router: RouterSnapshot, terrain: Terrain, address: str) -> bool:
    """Say whether an address lies in a subnet in which this router has an interface."""
    subnets = (subnet for port in router.interfaces for _, subnet in terrain.placed(port))
    return any(ip_address(address) in ip_network(subnet.cidr) for subnet in subnets)


def _floating_ips(router: RouterSnapshot, terrain: Terrain) -> tuple[FloatingIP, ...]:
    served = []
    for floating in sorted(router.floating_ips, key=lambda floating: floating.id):
        gateway = _gateway_port_for(floating.floating_network_id, router)
        fixed = floating.fixed_ip_address
        if gateway is None or fixed is None or not _reaches(router, terrain, fixed):
            continue
        served.append(
            FloatingIP(
                id=floating.id,
                floating=floating.floating_ip_address,
                fixed=fixed,
                external_port_id=gateway,
                shaping=_shaping(floating.bandwidth),
            )
        )
    return tuple(served)


def _port_forwardings(router: RouterSnapshot, terrain: Terrain) -> tuple[PortForwarding, ...]:
    rules = []
    for floating in router.floating_ips:
        gateway = _gateway_port_for(floating.floating_network_id, router)
        if gateway is None:
            continue
        rules += [
            PortForwarding(
                id=rule.id,
                protocol=rule.protocol,
                floating=floating.floating_ip_address,
                external_first=rule.external_port_first,
                external_last=rule.external_port_last,
                internal=rule.internal_ip,
                internal_first=rule.internal_port_first,
                internal_last=rule.internal_port_last,
                external_port_id=gateway,
            )
            for rule in floating.port_forwardings
            if _reaches(router, terrain, rule.internal_ip)
        ]
    return tuple(sorted(rules, key=lambda rule: rule.id))


def _v6_gateways(router: RouterSnapshot, terrain: Terrain) -> list[tuple[str, set[str | None]]]:
    """Return gateway ports with an IPv6 address, and the address scopes of those subnets."""
    found = []
    for gateway in sorted(router.gateways, key=lambda gateway: gateway.port.id):
        scopes = {subnet.address_scope_id for _, subnet in terrain.placed(gateway.port) if subnet.ip_version == 6}
        if scopes:
            found.append((gateway.port.id, scopes))
    return found


def _ndp_proxies(router: RouterSnapshot, terrain: Terrain) -> tuple[NdpProxy, ...]:
    gateways = _v6_gateways(router, terrain)
    if not (router.enable_ndp_proxy and gateways):
        return ()
    addresses = sorted({proxy.ip_address for proxy in router.ndp_proxies})
    return tuple(NdpProxy(address=address, external_port_id=gateways[0][0]) for address in addresses)


def _routed_v6(router: RouterSnapshot, terrain: Terrain) -> tuple[str, ...]:
    """Name the internal IPv6 subnets that outside may reach: same address scope as a gateway's IPv6 subnet.

    Subnets of no scope meet gateways of no scope (neutron.agent.l3.router_info, address scope rules).
    With NDP proxy switched on only the proxied addresses are (neutron.agent.l3.extensions.ndp_proxy
    drops the rest).
    """
    if router.enable_ndp_proxy:
        return tuple(f"{proxy.address}/128" for proxy in _ndp_proxies(router, terrain))
    outside: set[str | None] = set()
    for _, scopes in _v6_gateways(router, terrain):
        outside |= scopes
    inside = {
        subnet.cidr
        for port in router.interfaces
        for _, subnet in terrain.placed(port)
        if subnet.ip_version == 6 and subnet.address_scope_id in outside
    }
    return tuple(sorted(inside))
