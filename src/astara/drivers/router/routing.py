"""Routes and policy rules of a router. Pure.

With one gateway: a default route per IP version. With several: connections go back where they came in (their mark
names the gateway), the router's own addresses speak through their own gateway, everything else leaves by the first.

What asks for metadata by an internal link is turned round (docs/design/router-driver.md, "Metadata").
"""

from __future__ import annotations

from collections import defaultdict
from ipaddress import IPv4Network, ip_network

from astara.appliance.subsystems.metadata.config import METADATA_V4
from astara.appliance.subsystems.routes.config import (
    MAIN_TABLE,
    HopConfig,
    Network,
    RouteConfig,
    RoutesConfig,
    RuleConfig,
)
from astara.drivers.router.parsed import Gateway, IPAddress, Router, Side

#: A tenant's extra route to 0.0.0.0/0 wins over the gateway's default.
STATIC_METRIC = 10
DEFAULT_METRIC = 100
#: The table of gateway n is this plus n.
TABLES = 1000
#: The table of what comes in by internal link n and asks for metadata is this plus n; marks of gateways stay below.
LINK_TABLES = 2000
MARK_MASK = 0xFF
_BY_LINK, _KNOWN, _BY_MARK, _BY_SOURCE = 99, 100, 101, 102


def routing(router: Router) -> RoutesConfig:
    """Return the routes and rules of the whole router."""
    routes = [*_static(router), *(_default(gateway, hop, MAIN_TABLE) for gateway, hop in _hops(router))]
    routes += [_on_link(side, table) for side, table in _turning(router)]
    rules = [RuleConfig(4, _BY_LINK, table, mac=side.mac) for side, table in _turning(router)]
    if len(router.gateways) > 1:
        routes += [_default(gateway, hop, TABLES + gateway.mark) for gateway, hop in _hops(router)]
        rules += _rules(router)
    return RoutesConfig(tuple(routes), tuple(rules))


def _turning(router: Router) -> list[tuple[Side, int]]:
    """Return the links on which metadata is asked for, each with a table of its own."""
    return [(side, LINK_TABLES + number) for number, side in enumerate(router.internal) if side.speaks(4)]


def _on_link(side: Side, table: int) -> RouteConfig:
    return RouteConfig(IPv4Network(METADATA_V4), (HopConfig(None, side.mac),), DEFAULT_METRIC, table)


def _hops(router: Router) -> list[tuple[Gateway, IPAddress]]:
    return [(gateway, nexthop) for gateway in router.gateways for nexthop in gateway.nexthops]


def _default(gateway: Gateway, nexthop: IPAddress, table: int) -> RouteConfig:
    outside = not any(nexthop in address.network for address in gateway.side.addresses)
    link_local = nexthop.version == 6 and nexthop.is_link_local
    return RouteConfig(
        destination=ip_network("0.0.0.0/0" if nexthop.version == 4 else "::/0"),
        hops=(HopConfig(nexthop, gateway.side.mac, onlink=outside and not link_local),),
        metric=DEFAULT_METRIC + gateway.mark,
        table=table,
    )


def _static(router: Router) -> list[RouteConfig]:
    """Neutron allows several next hops for one destination: they share its traffic."""
    hops: dict[Network, set[IPAddress]] = defaultdict(set)
    for route in router.routes:
        hops[route.destination].add(route.nexthop)
    return [
        RouteConfig(
            destination,
            tuple(HopConfig(nexthop) for nexthop in sorted(nexthops, key=lambda nexthop: nexthop.packed)),
            STATIC_METRIC,
        )
        for destination, nexthops in sorted(hops.items(), key=lambda pair: (pair[0].version, str(pair[0])))
    ]


def _rules(router: Router) -> list[RuleConfig]:
    rules = [RuleConfig(version, _KNOWN, MAIN_TABLE, suppress_up_to=0) for version in (4, 6)]
    for gateway, nexthop in _hops(router):
        table = TABLES + gateway.mark
        rules.append(RuleConfig(nexthop.version, _BY_MARK, table, mark=gateway.mark, mask=MARK_MASK))
        rules += [
            RuleConfig(nexthop.version, _BY_SOURCE, table, source=ip_network(str(address.ip)))
            for address in gateway.side.addresses
            if address.version == nexthop.version
        ]
    return rules
