"""The router section with every string parsed: what types on the wire cannot say is refused here. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import TypeVar

from astara.contract.codec import ContractError
from astara.drivers.router.schema import (
    ADVERTS_MS,
    ExternalLink,
    InternalLink,
    Pair,
    PortForwarding,
    RouterSection,
    Shaping,
)

Interface = IPv4Interface | IPv6Interface
IPAddress = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
T = TypeVar("T")

#: Neutron port forwarding protocols (neutron-lib, IPTABLES_PROTOCOL_MAP) that have ports, and their numbers.
PORT_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "dccp": 33}
ICMP = 1
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_MTU = range(68, 65536)
_PORT = range(1, 65536)


@dataclass(frozen=True, slots=True)
class Side:
    """One link, internal or external. Address scopes are "" for none, which is a scope too."""

    mac: str
    port_id: str
    mtu: int
    addresses: tuple[Interface, ...]
    shaping: Shaping | None
    scope_v4: str
    scope_v6: str

    def scope(self, version: int) -> str:
        """Return the address scope of an IP version."""
        return self.scope_v4 if version == 4 else self.scope_v6

    def speaks(self, version: int) -> bool:
        """Say whether it has an address of that IP version."""
        return any(address.version == version for address in self.addresses)


@dataclass(frozen=True, slots=True)
class Gateway:
    """One external link. `mark` numbers the gateways from 1."""

    side: Side
    nexthops: tuple[IPAddress, ...]
    snat: IPv4Address | None
    mark: int


@dataclass(frozen=True, slots=True)
class Floating:
    floating: IPv4Address
    fixed: IPv4Address
    gateway: Gateway
    shaping: Shaping | None
    field: str


@dataclass(frozen=True, slots=True)
class Forwarding:
    """`protocol` is a number; ports are 0 for ICMP."""

    protocol: int
    floating: IPv4Address
    first: int
    last: int
    internal: IPv4Address
    internal_first: int
    gateway: Gateway
    field: str


@dataclass(frozen=True, slots=True)
class Via:
    """A static route."""

    destination: Network
    nexthop: IPAddress


@dataclass(frozen=True, slots=True)
class Half:
    """This half of a pair. `mac`: of the link it shares with the other half, whose own is `peer_mac` where told."""

    mac: str
    mtu: int
    address: IPv4Interface
    peer: IPv4Address
    advert_ms: int
    peer_mac: str | None = None


@dataclass(frozen=True, slots=True)
class Router:
    """Everything of the section that needed parsing. `proxied`: (external link's MAC, address)."""

    enabled: bool
    internal: tuple[Side, ...]
    gateways: tuple[Gateway, ...]
    floating: tuple[Floating, ...]
    forwardings: tuple[Forwarding, ...]
    routes: tuple[Via, ...]
    reachable_v6: tuple[IPv6Network, ...]
    proxied: tuple[tuple[str, IPv6Address], ...]
    half: Half | None


def parse(section: RouterSection) -> Router:
    """Raises ContractError naming the field, without its value."""
    gateways = tuple(_gateway(link, index) for index, link in enumerate(section.external))
    internal = tuple(_side(link, f"$.internal[{index}]") for index, link in enumerate(section.internal))
    _refuse_twins(internal, gateways)
    by_port = {gateway.side.port_id: gateway for gateway in gateways}
    return Router(
        enabled=section.enabled,
        internal=internal,
        gateways=gateways,
        floating=tuple(
            Floating(
                floating=_v4(address.floating, f"$.floating_ips[{index}].floating"),
                fixed=_v4(address.fixed, f"$.floating_ips[{index}].fixed"),
                gateway=_at(by_port, address.external_port_id, f"$.floating_ips[{index}].external_port_id"),
                shaping=address.shaping,
                field=f"$.floating_ips[{index}]",
            )
            for index, address in enumerate(section.floating_ips)
        ),
        forwardings=tuple(
            _forwarding(rule, by_port, f"$.port_forwardings[{index}]")
            for index, rule in enumerate(section.port_forwardings)
        ),
        routes=_routes(section, [*internal, *(gateway.side for gateway in gateways)]),
        reachable_v6=tuple(
            _network6(prefix, f"$.routed_v6[{index}]") for index, prefix in enumerate(section.routed_v6)
        ),
        proxied=tuple(
            (
                _at(by_port, proxy.external_port_id, f"$.ndp_proxies[{index}].external_port_id").side.mac,
                _v6(proxy.address, f"$.ndp_proxies[{index}].address"),
            )
            for index, proxy in enumerate(section.ndp_proxies)
        ),
        half=_half(section.pair, {side.mac for side in (*internal, *(gateway.side for gateway in gateways))}),
    )


def _half(pair: Pair | None, taken: set[str]) -> Half | None:
    if pair is None:
        return None
    mac = _mac(pair.mac, "$.pair.mac")
    if mac in taken:
        raise ContractError("$.pair.mac", "a second link with this MAC address", "list each link once")
    address = _read(IPv4Interface, pair.address, "$.pair.address", "an IPv4 address with prefix length")
    peer = _v4(pair.peer, "$.pair.peer")
    if peer not in address.network or peer == address.ip:
        raise ContractError("$.pair.peer", "no other address of the link's subnet", "send the other half's address")
    if pair.advert_ms not in ADVERTS_MS:
        limits = f"{ADVERTS_MS.start} to {ADVERTS_MS.stop - 1}"
        raise ContractError("$.pair.advert_ms", "not an interval VRRP can have", f"use {limits}, in steps of 10")
    peer_mac = _mac(pair.peer_mac, "$.pair.peer_mac") if pair.peer_mac else None
    if peer_mac == mac:
        raise ContractError("$.pair.peer_mac", "this half's own", "send the MAC address of the other half's port")
    return Half(mac, _mtu(pair.mtu, "$.pair.mtu"), address, peer, pair.advert_ms, peer_mac)


def _side(link: InternalLink | ExternalLink, field: str) -> Side:
    return Side(
        mac=_mac(link.mac, f"{field}.mac"),
        port_id=link.port_id,
        mtu=_mtu(link.mtu, f"{field}.mtu"),
        addresses=tuple(
            _read(ip_interface, text, f"{field}.addresses[{index}]", "an address with prefix length")
            for index, text in enumerate(link.addresses)
        ),
        shaping=link.shaping,
        scope_v4=link.scope_v4,
        scope_v6=link.scope_v6,
    )


def _mac(text: str, field: str) -> str:
    mac = text.lower()
    if _MAC.fullmatch(mac) is None:
        raise ContractError(field, "not a MAC address", "write six octets as aa:bb:cc:dd:ee:ff")
    return mac


def _mtu(mtu: int, field: str) -> int:
    if mtu not in _MTU:
        raise ContractError(field, "not an MTU", f"use {_MTU.start} to {_MTU.stop - 1}")
    return mtu


def _gateway(link: ExternalLink, index: int) -> Gateway:
    field = f"$.external[{index}]"
    side = _side(link, field)
    nexthops = tuple(
        _read(ip_address, text, f"{field}.nexthops[{position}]", "an IP address")
        for position, text in enumerate(link.nexthops)
    )
    if len({nexthop.version for nexthop in nexthops}) != len(nexthops):
        raise ContractError(f"{field}.nexthops", "two of one IP version", "send at most one per version")
    snat = _v4(link.snat_v4, f"{field}.snat_v4") if link.snat_v4 is not None else None
    return Gateway(side, nexthops, snat, index + 1)


def _refuse_twins(internal: tuple[Side, ...], gateways: tuple[Gateway, ...]) -> None:
    seen: set[str] = set()
    named = [(f"$.internal[{index}].mac", side) for index, side in enumerate(internal)]
    named += [(f"$.external[{index}].mac", gateway.side) for index, gateway in enumerate(gateways)]
    for field, side in named:
        if side.mac in seen:
            raise ContractError(field, "a second link with this MAC address", "list each link once")
        seen.add(side.mac)


def _forwarding(rule: PortForwarding, by_port: dict[str, Gateway], field: str) -> Forwarding:
    gateway = _at(by_port, rule.external_port_id, f"{field}.external_port_id")
    floating = _v4(rule.floating, f"{field}.floating")
    internal = _v4(rule.internal, f"{field}.internal")
    if rule.protocol == "icmp":
        return Forwarding(ICMP, floating, 0, 0, internal, 0, gateway, field)
    number = PORT_PROTOCOLS.get(rule.protocol)
    if number is None:
        known = ", ".join([*sorted(PORT_PROTOCOLS), "icmp"])
        raise ContractError(f"{field}.protocol", "cannot be forwarded by port", f"use one of: {known}")
    for name in ("external_first", "external_last", "internal_first", "internal_last"):
        if getattr(rule, name) not in _PORT:
            raise ContractError(f"{field}.{name}", "not a port", "use 1 to 65535")
    length = rule.external_last - rule.external_first
    if length < 0 or rule.internal_last - rule.internal_first != length:
        raise ContractError(f"{field}.internal_last", "ranges of unequal length", "send ranges of equal length")
    return Forwarding(
        number, floating, rule.external_first, rule.external_last, internal, rule.internal_first, gateway, field
    )


def _routes(section: RouterSection, sides: list[Side]) -> tuple[Via, ...]:
    subnets = [address.network for side in sides for address in side.addresses]
    routes = []
    for index, route in enumerate(section.routes):
        field = f"$.routes[{index}]"
        destination = _read(ip_network, route.destination, f"{field}.destination", "a network")
        nexthop = _read(ip_address, route.nexthop, f"{field}.nexthop", "an IP address")
        if destination.version != nexthop.version:
            raise ContractError(f"{field}.nexthop", "of another IP version than the destination")
        if not any(nexthop in subnet for subnet in subnets):
            raise ContractError(
                f"{field}.nexthop", "in no subnet of this router", "remove the route or add the interface"
            )
        routes.append(Via(destination, nexthop))
    return tuple(routes)


def _at(by_port: dict[str, Gateway], port_id: str, field: str) -> Gateway:
    gateway = by_port.get(port_id)
    if gateway is None:
        raise ContractError(field, "names no external link of this document", "name the port_id of one in $.external")
    return gateway


def _read(parser: Callable[[str], T], text: str, field: str, what: str) -> T:
    try:
        return parser(text)
    except ValueError:
        raise ContractError(field, f"not {what}") from None


def _v4(text: str, field: str) -> IPv4Address:
    return _read(IPv4Address, text, field, "an IPv4 address")


def _v6(text: str, field: str) -> IPv6Address:
    return _read(IPv6Address, text, field, "an IPv6 address")


def _network6(text: str, field: str) -> IPv6Network:
    return _read(IPv6Network, text, field, "an IPv6 prefix")
