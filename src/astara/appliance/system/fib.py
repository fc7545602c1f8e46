"""Routes and policy rules that carry our protocol number, over rtnetlink (rtnetlink(7), fib_rules(7))."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass

from astara.appliance.system import netlink
from astara.appliance.system.netlink import Netlink, Request
from astara.appliance.system.rtnetlink import OURS

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

MAIN_TABLE = 254

_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA = 1, 4, 5, 6, 9, 15, 18
_FRA_SRC, _FRA_IIFNAME, _FRA_PRIORITY, _FRA_FWMARK, _FRA_SUPPRESS_PREFIXLEN, _FRA_TABLE = 2, 3, 6, 10, 14, 15
_FRA_FWMASK, _FRA_PROTOCOL = 16, 21
_ONLINK = 4
_UNICAST = 1
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_TO_TABLE = 1
_HEADER = struct.Struct("=BBBBBBBBI")
_HOP = struct.Struct("=HBBi")


@dataclass(frozen=True, slots=True, order=True)
class Hop:
    """One way on. `index` 0: whichever link the gateway is on. `onlink`: believe it is, though no address says so."""

    gateway: IPAddress | None
    index: int = 0
    onlink: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    destination: Network
    hops: tuple[Hop, ...]
    metric: int
    table: int = MAIN_TABLE


@dataclass(frozen=True, slots=True)
class Rule:
    """`from source iif link fwmark mark/mask lookup table`; `link`: name of the one packets come in by, "" for any.

    `suppress_up_to`: ignore answers with that prefix length or less.
    """

    version: int
    priority: int
    table: int
    source: Network | None = None
    mark: int = 0
    mask: int = 0
    suppress_up_to: int | None = None
    link: str = ""


def routes(kernel: Netlink) -> list[Route]:
    """Return our routes of all tables and both IP versions. Raises NetlinkError."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        body = _HEADER.pack(family, 0, 0, 0, 0, OURS, 0, 0, 0)
        # The kernel filters by protocol only under strict checking, so look again.
        found += [_route(answer) for answer in kernel.dump(_GETROUTE, body) if answer[5] == OURS]
    return found


def rules(kernel: Netlink) -> list[Rule]:
    """Return our policy rules of both IP versions. Raises NetlinkError."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for answer in kernel.dump(_GETRULE, _HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
            said = netlink.attributes(answer, 12)
            if said.get(_FRA_PROTOCOL) == bytes([OURS]):
                found.append(_rule(family, answer, said))
    return found


def add_route(route: Route) -> Request:
    """Return the request that adds a route, or replaces the one to the same destination with the same metric."""
    return Request(_NEWROUTE, netlink.CREATE | netlink.REPLACE, _route_body(route))


def delete_route(route: Route) -> Request:
    return Request(_DELROUTE, 0, _route_body(route))


def add_rule(rule: Rule) -> Request:
    return Request(_NEWRULE, netlink.CREATE | netlink.EXCLUSIVE, _rule_body(rule))


def delete_rule(rule: Rule) -> Request:
    return Request(_DELRULE, 0, _rule_body(rule))


def _route_body(route: Route) -> bytes:
    family = socket.AF_INET if route.destination.version == 4 else socket.AF_INET6
    scope = _SCOPE_LINK if family == socket.AF_INET and route.hops[0].gateway is None else _SCOPE_UNIVERSE
    one = route.hops[0] if len(route.hops) == 1 else None
    flags = _ONLINK if one is not None and one.onlink else 0
    body = _HEADER.pack(family, route.destination.prefixlen, 0, 0, 0, OURS, scope, _UNICAST, flags)
    body += netlink.u32(_RTA_TABLE, route.table) + netlink.u32(_RTA_PRIORITY, route.metric)
    if route.destination.prefixlen:
        body += netlink.attribute(_RTA_DST, route.destination.network_address.packed)
    if one is None:
        return body + netlink.attribute(_RTA_MULTIPATH, b"".join(_hop_body(hop) for hop in route.hops))
    if one.gateway is not None:
        body += netlink.attribute(_RTA_GATEWAY, one.gateway.packed)
    if one.index:
        body += netlink.u32(_RTA_OIF, one.index)
    return body


def _hop_body(hop: Hop) -> bytes:
    gateway = netlink.attribute(_RTA_GATEWAY, hop.gateway.packed) if hop.gateway is not None else b""
    return _HOP.pack(8 + len(gateway), _ONLINK if hop.onlink else 0, 0, hop.index) + gateway


def _route(body: bytes) -> Route:
    family, prefix, _, _, table, _, _, _, flags = _HEADER.unpack_from(body)
    said = netlink.attributes(body, 12)
    if _RTA_MULTIPATH in said:
        hops = tuple(_hops(said[_RTA_MULTIPATH]))
    else:
        index = _number(said.get(_RTA_OIF))
        hops = (Hop(_ip(said.get(_RTA_GATEWAY)), index, bool(flags & _ONLINK)),)
    return Route(
        destination=_network(family, said.get(_RTA_DST), prefix),
        hops=hops,
        metric=_number(said.get(_RTA_PRIORITY)),
        table=_number(said.get(_RTA_TABLE)) or table,
    )


def _hops(payload: bytes) -> list[Hop]:
    hops = []
    start = 0
    while start + 8 <= len(payload):
        length, flags, _, index = _HOP.unpack_from(payload, start)
        gateway = netlink.attributes(payload[start + 8 : start + length]).get(_RTA_GATEWAY)
        hops.append(Hop(_ip(gateway), index, bool(flags & _ONLINK)))
        start += (length + 3) & ~3
    return hops


def _rule_body(rule: Rule) -> bytes:
    family = socket.AF_INET if rule.version == 4 else socket.AF_INET6
    length = rule.source.prefixlen if rule.source is not None else 0
    body = _HEADER.pack(family, 0, length, 0, 0, 0, 0, _TO_TABLE, 0)
    body += netlink.u32(_FRA_PRIORITY, rule.priority) + netlink.u32(_FRA_TABLE, rule.table)
    body += netlink.attribute(_FRA_PROTOCOL, bytes([OURS]))
    if rule.source is not None and length:
        body += netlink.attribute(_FRA_SRC, rule.source.network_address.packed)
    if rule.link:
        body += netlink.text(_FRA_IIFNAME, rule.link)
    if rule.mask:
        body += netlink.u32(_FRA_FWMARK, rule.mark) + netlink.u32(_FRA_FWMASK, rule.mask)
    if rule.suppress_up_to is not None:
        body += netlink.u32(_FRA_SUPPRESS_PREFIXLEN, rule.suppress_up_to)
    return body


def _rule(family: int, body: bytes, said: dict[int, bytes]) -> Rule:
    length = body[2]
    suppress = said.get(_FRA_SUPPRESS_PREFIXLEN)
    up_to = struct.unpack("=i", suppress)[0] if suppress is not None else -1
    mark = _number(said.get(_FRA_FWMARK))
    return Rule(
        version=4 if family == socket.AF_INET else 6,
        priority=_number(said.get(_FRA_PRIORITY)),
        table=_number(said.get(_FRA_TABLE)) or body[4],
        source=_network(family, said.get(_FRA_SRC), length) if length else None,
        mark=mark,
        mask=_number(said.get(_FRA_FWMASK)) if mark else 0,
        suppress_up_to=up_to if up_to >= 0 else None,
        link=said.get(_FRA_IIFNAME, b"").rstrip(b"\0").decode(errors="replace"),
    )


def _network(family: int, packed: bytes | None, prefix: int) -> Network:
    if family == socket.AF_INET:
        return ipaddress.IPv4Network((packed or bytes(4), prefix))
    return ipaddress.IPv6Network((packed or bytes(16), prefix))


def _ip(packed: bytes | None) -> IPAddress | None:
    return ipaddress.ip_address(packed) if packed is not None else None


def _number(payload: bytes | None) -> int:
    return struct.unpack("=I", payload)[0] if payload is not None else 0
