"""Neutron's wish, out of the answers of its ordinary REST API. Nothing here comes from Astara. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Record = Mapping[str, Any]

COLLECTIONS = ("networks", "subnets", "ports", "routers", "floatingips")
GATEWAY, INTERFACE, DHCP = "network:router_gateway", "network:router_interface", "network:dhcp"
#: Of routers, and of pairs.
INTERFACES = (INTERFACE, "network:ha_router_replicated_interface")
#: Of one half of a pair, bound to its node: on the network over which the halves hear each other.
HALF = "network:router_ha_interface"


@dataclass(frozen=True, slots=True)
class Answers:
    """What the API said. `forwardings` by floating IP's id."""

    networks: tuple[Record, ...] = ()
    subnets: tuple[Record, ...] = ()
    ports: tuple[Record, ...] = ()
    routers: tuple[Record, ...] = ()
    floatingips: tuple[Record, ...] = ()
    forwardings: Mapping[str, tuple[Record, ...]] = ()  # type: ignore[assignment]  # empty is empty


@dataclass(frozen=True, slots=True)
class WantedLink:
    """One port's link inside an instance; addresses with prefix length, floating ones as /32."""

    port_id: str
    mac: str
    network_id: str
    mtu: int
    addresses: frozenset[str]


@dataclass(frozen=True, slots=True)
class WantedRouter:
    """`forwards`: (floating address, protocol, external port, internal address, internal port)."""

    id: str
    name: str
    up: bool
    links: tuple[WantedLink, ...]
    routes: frozenset[tuple[str, str]]  # (destination, next hop), defaults among them
    floating: frozenset[tuple[str, str]]  # (floating address, fixed address)
    forwards: frozenset[tuple[str, str, int, str, int]]
    advertises: bool
    halves: Mapping[str, WantedLink] = field(default_factory=dict)  # by node, of a pair: its link to the other half

    def links_on(self, host: str) -> tuple[WantedLink, ...]:
        """Return the links its instance on that node has."""
        return (*self.links, *(link for on, link in self.halves.items() if on == host))


@dataclass(frozen=True, slots=True)
class WantedDhcp:
    """The service of one network: None for `link` while Neutron has no DHCP port for it."""

    network_id: str
    name: str
    link: WantedLink | None
    leases_v4: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """`statuses`: what Neutron shows and should show otherwise; `strays`: ports that nothing explains."""

    routers: tuple[WantedRouter, ...]
    services: tuple[WantedDhcp, ...]
    networks: frozenset[str]
    hosts: frozenset[str]  # ports of machines
    statuses: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()

    @property
    def links(self) -> tuple[WantedLink, ...]:
        """Every link of ours that should be plugged."""
        served = tuple(service.link for service in self.services if service.link)
        halves = tuple(link for router in self.routers for link in router.halves.values())
        return tuple(link for router in self.routers for link in router.links) + halves + served


class _Index:
    def __init__(self, answers: Answers) -> None:
        self.subnets = {subnet["id"]: subnet for subnet in answers.subnets}
        self.networks = {network["id"]: network for network in answers.networks}
        self.by_device: dict[str, list[Record]] = defaultdict(list)
        self.dhcp: dict[str, list[Record]] = defaultdict(list)
        for port in answers.ports:
            self.by_device[port["device_id"]].append(port)
            if port["device_owner"] == DHCP:
                self.dhcp[port["network_id"]].append(port)

    def link(self, port: Record, further: Iterable[str] = ()) -> WantedLink:
        own = {
            f"{ip_address(fixed['ip_address'])}/{ip_network(self.subnets[fixed['subnet_id']]['cidr']).prefixlen}"
            for fixed in port["fixed_ips"]
            if fixed["subnet_id"] in self.subnets
        }
        mtu = int(self.networks[port["network_id"]]["mtu"]) if port["network_id"] in self.networks else 0
        return WantedLink(port["id"], port["mac_address"], port["network_id"], mtu, frozenset({*own, *further}))

    def subnets_of(self, port: Record) -> list[Record]:
        return [self.subnets[f["subnet_id"]] for f in port["fixed_ips"] if f["subnet_id"] in self.subnets]


def wish(answers: Answers) -> Wish:
    """Work out what should run."""
    index = _Index(answers)
    routers = tuple(_router(router, index, answers) for router in answers.routers)
    services = tuple(_service(network, index, answers) for network in answers.networks if _serves(network, answers))
    return Wish(
        routers=routers,
        services=services,
        networks=frozenset(index.networks),
        hosts=frozenset(p["id"] for p in answers.ports if p["device_owner"].startswith("compute:")),
        statuses=tuple(_statuses(answers, index)),
        strays=tuple(_strays(answers, {service.network_id for service in services})),
    )


def _router(router: Record, index: _Index, answers: Answers) -> WantedRouter:
    ports = [p for p in index.by_device[router["id"]] if p["device_owner"] in (GATEWAY, *INTERFACES)]
    gateways = [port for port in ports if port["device_owner"] == GATEWAY]
    inside = [port for port in ports if port["device_owner"] in INTERFACES]
    ips = [ip for ip in answers.floatingips if ip["router_id"] == router["id"]]
    floating = {(ip["floating_ip_address"], ip["fixed_ip_address"]) for ip in ips if ip["fixed_ip_address"]}
    forwards = {(ip["floating_ip_address"], *_forward(rule)) for ip in ips for rule in _forwardings(answers, ip["id"])}
    translated = {f"{address}/32" for address in {f[0] for f in floating} | {f[0] for f in forwards}}
    v6 = [s for port in inside for s in index.subnets_of(port) if s["ip_version"] == 6]
    return WantedRouter(
        id=router["id"],
        name=router["name"],
        up=router["admin_state_up"],
        links=(*(index.link(p) for p in inside), *(index.link(p, translated) for p in gateways)),
        routes=frozenset({*_defaults(gateways, index), *_reachable(router, ports, index)}),
        floating=frozenset(floating if gateways else ()),
        forwards=frozenset(forwards if gateways else ()),
        advertises=any(s["ipv6_ra_mode"] for s in v6),
        halves={
            p["binding:host_id"]: index.link(p) for p in index.by_device[router["id"]] if p["device_owner"] == HALF
        },
    )


def _reachable(router: Record, ports: Iterable[Record], index: _Index) -> Iterable[tuple[str, str]]:
    """Extra routes. Neutron can be made to keep one after its interface went: no kernel takes that."""
    subnets = [ip_network(subnet["cidr"]) for port in ports for subnet in index.subnets_of(port)]
    for route in router["routes"]:
        if any(ip_address(route["nexthop"]) in subnet for subnet in subnets):
            yield route["destination"], route["nexthop"]


def _forwardings(answers: Answers, ip_id: str) -> tuple[Record, ...]:
    return dict(answers.forwardings).get(ip_id, ())


def _forward(rule: Record) -> tuple[str, int, str, int]:
    return rule["protocol"], int(rule["external_port"]), rule["internal_ip_address"], int(rule["internal_port"])


def _defaults(gateways: Iterable[Record], index: _Index) -> Iterable[tuple[str, str]]:
    for port in gateways:
        for subnet in index.subnets_of(port):
            if subnet["gateway_ip"]:
                yield ("0.0.0.0/0" if subnet["ip_version"] == 4 else "::/0"), subnet["gateway_ip"]


def _serves(network: Record, answers: Answers) -> bool:
    return any(s["enable_dhcp"] for s in answers.subnets if s["network_id"] == network["id"])


def _service(network: Record, index: _Index, answers: Answers) -> WantedDhcp:
    subnets = [s for s in answers.subnets if s["network_id"] == network["id"] and s["enable_dhcp"]]
    ports = index.dhcp[network["id"]]
    link = index.link(ports[0]) if len(ports) == 1 else None
    return WantedDhcp(network["id"], network["name"], link, any(s["ip_version"] == 4 for s in subnets))


def _statuses(answers: Answers, index: _Index) -> Iterable[str]:
    """Name what does not show ACTIVE and should. What is administratively down is left out."""
    up = {router["id"] for router in answers.routers if router["admin_state_up"]}
    for router in answers.routers:
        if router["admin_state_up"] and router["status"] != "ACTIVE":
            yield f"router {router['id']} shows {router['status']}"
    for port in answers.ports:
        ours = port["device_owner"] == DHCP or (
            port["device_owner"] in (GATEWAY, *INTERFACES) and port["device_id"] in up
        )
        if ours and port["status"] != "ACTIVE":
            yield f"port {port['id']} ({port['device_owner']}) shows {port['status']}"
    for ip in answers.floatingips:
        serves = ip["router_id"] in up and (ip["fixed_ip_address"] or _forwardings(answers, ip["id"]))
        if serves and ip["status"] != "ACTIVE":
            yield f"floating IP {ip['floating_ip_address']} shows {ip['status']}"
        if not ip["router_id"] and ip["status"] == "ACTIVE":
            yield f"floating IP {ip['floating_ip_address']} shows ACTIVE and belongs to no router"


def _strays(answers: Answers, served: set[str]) -> Iterable[str]:
    """Name DHCP ports of networks nobody is to serve, second ones, and ports of routers that are gone."""
    routers = {router["id"] for router in answers.routers}
    seen: set[str] = set()
    for port in answers.ports:
        network_id = port["network_id"]
        if port["device_owner"] == DHCP:
            if network_id not in served:
                yield f"DHCP port {port['id']} on network {network_id}, which has no DHCP"
            elif network_id in seen:
                yield f"second DHCP port {port['id']} on network {network_id}"
            seen.add(network_id)
        elif port["device_owner"] in (GATEWAY, *INTERFACES, HALF) and port["device_id"] not in routers:
            yield f"port {port['id']} of router {port['device_id']}, which is gone"
