"""What goes into the sets and maps of a router's ruleset. Pure."""

from __future__ import annotations

from collections import defaultdict
from ipaddress import IPv4Address, IPv4Network, IPv6Interface, IPv6Network, collapse_addresses

from astara.appliance.subsystems.nftables.config import (
    Atom,
    Element,
    LinkOf,
    Probe,
    Ruleset,
    Span,
)
from astara.contract.codec import ContractError
from astara.drivers.router.parsed import ICMP, Forwarding, Gateway, Router
from astara.drivers.router.ruleset import helper_object, structure
from astara.drivers.router.schema import ConntrackHelper

#: Neutron's conntrack helpers (neutron/conf/extensions/conntrack_helper.py) and their protocols.
HELPERS = {
    "amanda": ("udp",),
    "ftp": ("tcp",),
    "h323": ("tcp", "udp"),
    "irc": ("tcp",),
    "netbios-ns": ("udp",),
    "pptp": ("tcp",),
    "sane": ("tcp",),
    "sip": ("tcp", "udp"),
    "snmp": ("udp",),
    "tftp": ("udp",),
}
#: A forwarded range whose ports move becomes one element per port; more than this is refused.
MOVED_PORTS = 16384


class _Sets:
    """Collects elements and refuses two values for one key."""

    def __init__(self) -> None:
        self._members: dict[str, dict[tuple[Atom, ...], tuple[Atom, ...]]] = defaultdict(dict)

    def add(self, name: str, key: tuple[Atom, ...], value: tuple[Atom, ...] = (), *, field: str = "") -> None:
        known = self._members[name].setdefault(key, value)
        if known != value:
            raise ContractError(field, "translates what another entry translates otherwise", "send each address once")

    def first(self, name: str, key: tuple[Atom, ...], value: tuple[Atom, ...]) -> None:
        """Add unless the key is there: which of several equals wins does not matter."""
        self._members[name].setdefault(key, value)

    def elements(self) -> dict[str, frozenset[Element]]:
        return {
            name: frozenset(Element(key, value) for key, value in members.items())
            for name, members in self._members.items()
        }


def ruleset(router: Router, helpers: tuple[ConntrackHelper, ...]) -> Ruleset:
    """Return the whole ruleset. Administratively down: the same structure, and nothing in it.

    Raises ContractError naming the field.
    """
    triples = tuple(_helper(helper, f"$.conntrack_helpers[{index}]") for index, helper in enumerate(helpers))
    sets = _Sets()
    if router.half is not None:
        sets.add("halves", (LinkOf(router.half.mac), router.half.peer))
    if router.enabled:
        _links(sets, router)
        _scopes(sets, router)
        _floating(sets, router)
        for rule in router.forwardings:
            _forwarding(sets, rule)
        _sources(sets, router)
        _marks(sets, router)
    probes = tuple(
        Probe(
            field=f"$.section.conntrack_helpers[{index}].helper",
            structure=helper_object(helper, protocol),
            remedy=f"load the kernel module nf_conntrack_{helper.replace('-', '_')}, or remove the helper",
        )
        for index, (helper, protocol, _) in enumerate(triples)
    )
    return Ruleset(structure(triples), sets.elements(), probes)


def _links(sets: _Sets, router: Router) -> None:
    for side in router.internal:
        sets.add("internal", (LinkOf(side.mac),))
    for gateway in router.gateways:
        link = LinkOf(gateway.side.mac)
        sets.add("external", (link,))
        if gateway.snat is not None:
            sets.add("translating", (link,))
    for name, prefixes in _inside(router).items():
        for inside in prefixes:
            sets.add(name, (inside,))
    _reachable(sets, router)


def _reachable(sets: _Sets, router: Router) -> None:
    """Which link a packet came in by is asked only where it matters: see Ruleset for what that costs."""
    from_each = [(gateway, set(collapse_addresses(reachable_v6(router, gateway)))) for gateway in router.gateways]
    alike = all(prefixes == from_each[0][1] for _, prefixes in from_each)
    for gateway, prefixes in from_each:
        for prefix in prefixes:
            if alike:
                sets.add("reachable_v6", (prefix,))
            else:
                sets.add("reachable_v6_from", (LinkOf(gateway.side.mac), prefix))


def reachable_v6(router: Router, gateway: Gateway) -> list[IPv6Network]:
    """Return the prefixes outside may reach by one gateway: none that lies in another address scope than it."""
    others = [
        address.network
        for side in router.internal
        for address in side.addresses
        if isinstance(address, IPv6Interface) and side.scope_v6 != gateway.side.scope_v6
    ]
    named = [*router.reachable_v6, *(IPv6Network(address) for _, address in router.proxied)]
    return [prefix for prefix in named if not any(prefix.overlaps(other) for other in others)]


def _scopes(sets: _Sets, router: Router) -> None:
    """Scopes are numbered anew in each document: numbers are compared while a packet passes, and never kept."""
    sides = [*router.internal, *(gateway.side for gateway in router.gateways)]
    names = sorted({"", *(side.scope_v4 for side in sides), *(side.scope_v6 for side in sides)})
    numbers = {name: number for number, name in enumerate(names)}
    for side in sides:
        link = LinkOf(side.mac)
        for version in (4, 6):
            number = numbers[side.scope(version)]
            sets.add(f"scope_v{version}", (link,), (number,))
            sets.add(f"within_v{version}", (link, number))
    for gateway in router.gateways:
        if gateway.side.scope_v4:
            sets.add("plain", (LinkOf(gateway.side.mac), numbers[gateway.side.scope_v4]))


def _inside(router: Router) -> dict[str, list[IPv4Network] | list[IPv6Network]]:
    networks = [address.network for side in router.internal for address in side.addresses]
    return {
        "inside_v4": list(collapse_addresses(n for n in networks if isinstance(n, IPv4Network))),
        "inside_v6": list(
            collapse_addresses(n for n in networks if isinstance(n, IPv6Network) and not n.is_link_local)
        ),
    }


def _floating(sets: _Sets, router: Router) -> None:
    for address in router.floating:
        link = LinkOf(address.gateway.side.mac)
        sets.add("arriving", (link, address.floating))
        sets.add("floating_to_fixed", (address.floating,), (address.fixed,), field=f"{address.field}.floating")
        sets.add("fixed_to_floating", (link, address.fixed), (address.floating,), field=f"{address.field}.fixed")
        sets.add("floating_host", (link, address.fixed))
        sets.first("hairpin_source", (address.fixed,), (address.floating,))


def _forwarding(sets: _Sets, rule: Forwarding) -> None:
    sets.add("arriving", (LinkOf(rule.gateway.side.mac), rule.floating))
    field = f"{rule.field}.external_first"
    if rule.protocol == ICMP:
        sets.add("forward_icmp", (rule.floating,), (rule.internal,), field=field)
    elif rule.first == rule.internal_first and rule.first != rule.last:
        key = (rule.floating, rule.protocol, Span(rule.first, rule.last))
        sets.add("forward_span", key, (rule.internal,), field=field)
    else:
        if rule.last - rule.first >= MOVED_PORTS:
            raise ContractError(
                field,
                f"a range of more than {MOVED_PORTS} ports that changes its numbers",
                "forward equal port numbers, or fewer of them",
            )
        for offset in range(rule.last - rule.first + 1):
            key_one = (rule.floating, rule.protocol, rule.first + offset)
            sets.add("forward_port", key_one, (rule.internal, rule.internal_first + offset), field=field)


def _sources(sets: _Sets, router: Router) -> None:
    for gateway in router.gateways:
        if gateway.snat is not None:
            sets.add("gateway_source", (LinkOf(gateway.side.mac),), (gateway.snat,))
    outer = _outer_address(router)
    if outer is not None:
        for side in router.internal:
            sets.add("gateway_source", (LinkOf(side.mac),), (outer,))


def _outer_address(router: Router) -> IPv4Address | None:
    """Return the address a host without a floating one shows when it visits a neighbour's floating address."""
    for gateway in router.gateways:
        for address in gateway.side.addresses:
            if isinstance(address.ip, IPv4Address):
                return address.ip
    return None


def _marks(sets: _Sets, router: Router) -> None:
    if len(router.gateways) < 2:
        return
    for gateway in router.gateways:
        sets.add("link_mark", (LinkOf(gateway.side.mac),), (gateway.mark,))
    for address in router.floating:
        sets.first("fixed_mark", (address.fixed,), (address.gateway.mark,))


def _helper(helper: ConntrackHelper, field: str) -> tuple[str, str, int]:
    if helper.helper not in HELPERS:
        raise ContractError(f"{field}.helper", "no such helper", f"use one of: {', '.join(sorted(HELPERS))}")
    if helper.protocol not in HELPERS[helper.helper]:
        allowed = ", ".join(HELPERS[helper.helper])
        raise ContractError(f"{field}.protocol", "not a protocol of this helper", f"use one of: {allowed}")
    if not 1 <= helper.port <= 65535:
        raise ContractError(f"{field}.port", "not a port", "use 1 to 65535")
    return helper.helper, helper.protocol, helper.port
