"""The router driver's appliance side: one router section becomes one config per subsystem. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv6Address, IPv6Network
from typing import Any

from astara.appliance.subsystems.conntrack.config import (
    Binding,
    ConntrackConfig,
    FloatingBinding,
    ForwardBinding,
    Routed,
    SourceBinding,
)
from astara.appliance.subsystems.links.config import LinkConfig, LinksConfig
from astara.appliance.subsystems.radvd.config import AdvertisedLink, Prefix, PrefixMode, RadvdConfig
from astara.appliance.subsystems.sysctl.config import SysctlConfig, forwarding
from astara.appliance.subsystems.traffic.config import HostLimit, LinkLimit, Rate, TrafficConfig
from astara.contract.codec import ContractError
from astara.drivers.router.firewall import reachable_v6, ruleset
from astara.drivers.router.pair import heart_link, pair_configs, strict
from astara.drivers.router.parsed import Floating, Forwarding, Gateway, Interface, Network, Router, Side, parse
from astara.drivers.router.routing import routing
from astara.drivers.router.schema import ExternalLink, FloatingIP, InternalLink, RouterSection, Shaping


class RouterAppliance:
    """Entry point `astara.appliances: router`."""

    name = "router"
    section_type = RouterSection

    def typical(self, macs: tuple[str, str]) -> RouterSection:
        """A gateway with SNAT, a network behind it, and a floating IP (addresses: RFC 5737)."""
        inner, outer = macs
        return RouterSection(
            router_id="typical",
            internal=(
                InternalLink(mac=inner, port_id="inner", network_id="inner", mtu=1500, addresses=("192.0.2.1/24",)),
            ),
            external=(
                ExternalLink(
                    mac=outer,
                    port_id="outer",
                    network_id="outer",
                    mtu=1500,
                    addresses=("198.51.100.2/24",),
                    nexthops=("198.51.100.1",),
                    snat_v4="198.51.100.2",
                ),
            ),
            floating_ips=(
                FloatingIP(id="typical", floating="198.51.100.9", fixed="192.0.2.9", external_port_id="outer"),
            ),
        )

    def configs(self, section: RouterSection) -> Mapping[str, Any]:
        """Return subsystem name -> config. Raises ContractError naming the field."""
        router = parse(section)
        pair = {} if router.half is None else pair_configs(router.half, router)
        return {
            "nftables": ruleset(router, section.conntrack_helpers),
            "links": _links(router),
            "sysctl": _forwarding(router),
            "routes": routing(router),
            "traffic": _traffic(router),
            "conntrack": _conntrack(router),
            "radvd": _advertisements(section),
            **pair,
        }


def _links(router: Router) -> LinksConfig:
    """Links keep their addresses while the router is administratively down: what it says is decided elsewhere."""
    translated: dict[str, set[Interface]] = defaultdict(set)
    entries: list[Floating | Forwarding] = [*router.floating, *router.forwardings]
    for entry in entries:
        own = {address.ip for address in entry.gateway.side.addresses}
        if entry.floating not in own:
            translated[entry.gateway.side.mac].add(IPv4Interface((entry.floating, 32)))
    proxied: dict[str, set[IPv6Address]] = defaultdict(set)
    for mac, address in router.proxied:
        proxied[mac].add(address)
    sides = [*router.internal, *(gateway.side for gateway in router.gateways)]
    heart = () if router.half is None else (heart_link(router.half),)
    return LinksConfig((*(_link(side, translated[side.mac], proxied[side.mac], router) for side in sides), *heart))


def _link(side: Side, translated: set[Interface], proxied: set[IPv6Address], router: Router) -> LinkConfig:
    nexthops = [nexthop for gateway in router.gateways if gateway.side is side for nexthop in gateway.nexthops]
    return LinkConfig(
        mac=side.mac,
        mtu=side.mtu,
        addresses=(*side.addresses, *sorted(translated, key=lambda address: address.ip.packed)),
        ipv6=any(thing.version == 6 for thing in (*side.addresses, *nexthops)),
        proxied=tuple(sorted(proxied)),
    )


def _forwarding(router: Router) -> SysctlConfig:
    sides = [*router.internal, *(gateway.side for gateway in router.gateways)]
    versions = {address.version for side in sides for address in side.addresses}
    settings = forwarding(ipv4=router.enabled and 4 in versions, ipv6=router.enabled and 6 in versions)
    return settings if router.half is None else strict(settings)


def _traffic(router: Router) -> TrafficConfig:
    limits = [_limit(side, ()) for side in router.internal]
    limits += [_limit(gateway.side, _hosts(gateway, router)) for gateway in router.gateways]
    return TrafficConfig(tuple(limit for limit in limits if limit.egress or limit.ingress or limit.hosts))


def _hosts(gateway: Gateway, router: Router) -> tuple[HostLimit, ...]:
    hosts = [
        HostLimit(
            address.floating,
            egress=_rate(address.shaping.egress_kbps, address.shaping.egress_burst_kb),
            ingress=_rate(address.shaping.ingress_kbps, address.shaping.ingress_burst_kb),
        )
        for address in router.floating
        if address.gateway is gateway and address.shaping is not None
    ]
    return tuple(sorted((host for host in hosts if host.egress or host.ingress), key=lambda host: host.address))


def _limit(side: Side, hosts: tuple[HostLimit, ...]) -> LinkLimit:
    shaping = side.shaping or Shaping()
    return LinkLimit(
        mac=side.mac,
        egress=_rate(shaping.egress_kbps, shaping.egress_burst_kb),
        ingress=_rate(shaping.ingress_kbps, shaping.ingress_burst_kb),
        hosts=hosts,
    )


def _rate(kbps: int | None, burst_kb: int | None) -> Rate | None:
    """Neutron's 0 means no limit, for rates and for bursts."""
    return Rate(kbps, burst_kb or None) if kbps else None


def _conntrack(router: Router) -> ConntrackConfig:
    if not router.enabled:
        return ConntrackConfig()
    bindings: set[Binding] = {FloatingBinding(address.floating, address.fixed) for address in router.floating}
    bindings |= {
        ForwardBinding(rule.protocol, rule.floating, rule.first, rule.last, rule.internal, rule.internal_first)
        for rule in router.forwardings
    }
    bindings |= {SourceBinding(gateway.snat) for gateway in router.gateways if gateway.snat is not None}
    return ConntrackConfig(frozenset(bindings), _routed(router))


def _routed(router: Router) -> Routed:
    """What the ruleset lets through untranslated, by addresses instead of links."""
    leaving: set[Network] = set()
    entered: set[Network] = set()
    inside = frozenset(
        (address.network, side.scope(address.version)) for side in router.internal for address in side.addresses
    )
    for gateway in router.gateways:
        entered |= set(reachable_v6(router, gateway))
        near = {network for network, scope in inside if scope == gateway.side.scope(network.version)}
        entered |= {network for network in near if network.version == 4}
        plain_v4 = gateway.snat is None or gateway.side.scope_v4
        leaving |= {network for network in near if network.version == 6 or plain_v4}
    return Routed(inside, frozenset(leaving), frozenset(entered))


def _advertisements(section: RouterSection) -> RadvdConfig:
    if not section.enabled:
        return RadvdConfig()
    links = [_advertised(link, f"$.internal[{index}]") for index, link in enumerate(section.internal)]
    return RadvdConfig(tuple(link for link in links if link.prefixes))


def _advertised(link: InternalLink, field: str) -> AdvertisedLink:
    prefixes = []
    servers: dict[IPv6Address, None] = {}  # in order, each once
    for index, advertised in enumerate(link.advertise):
        at = f"{field}.advertise[{index}]"
        try:
            prefixes.append(Prefix(IPv6Network(advertised.prefix), PrefixMode(advertised.mode)))
        except ValueError:
            raise ContractError(f"{at}.prefix", "not an IPv6 prefix") from None
        try:
            servers.update(dict.fromkeys(IPv6Address(server) for server in advertised.dns_servers))
        except ValueError:
            raise ContractError(f"{at}.dns_servers", "not IPv6 addresses") from None
    return AdvertisedLink(link.mac.lower(), link.mtu, tuple(prefixes), tuple(servers))
