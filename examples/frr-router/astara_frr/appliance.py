"""The appliance side: addresses and forwarding by subsystems that every agent has, routes by FRR."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from astara.appliance.subsystems.links.config import LinkConfig, LinksConfig
from astara.appliance.subsystems.sysctl.config import forwarding
from astara.contract.codec import ContractError
from astara_frr.schema import FrrSection, Link, Route
from astara_frr.subsystem import FrrConfig, StaticRoute


class FrrAppliance:
    """Refuses what the types cannot say."""

    name = "frr"
    section_type = FrrSection

    def configs(self, section: FrrSection) -> Mapping[str, Any]:
        links = tuple(_link(link, f"$.links[{index}]") for index, link in enumerate(section.links))
        routes = tuple(_route(route, f"$.routes[{index}]") for index, route in enumerate(section.routes))
        versions = {address.version for link in links for address in link.addresses}
        return {
            "links": LinksConfig(links),
            "sysctl": forwarding(ipv4=section.enabled and 4 in versions, ipv6=section.enabled and 6 in versions),
            "frr": FrrConfig(routes),
        }


def _link(link: Link, field: str) -> LinkConfig:
    try:
        addresses = tuple(ip_interface(address) for address in link.addresses)
    except ValueError as error:
        raise ContractError(f"{field}.addresses", str(error)) from None
    return LinkConfig(link.mac.lower(), link.mtu, addresses, ipv6=any(one.version == 6 for one in addresses))


def _route(route: Route, field: str) -> StaticRoute:
    try:
        destination, nexthop = ip_network(route.destination), ip_address(route.nexthop)
    except ValueError as error:
        raise ContractError(field, str(error)) from None
    if destination.version != nexthop.version:
        raise ContractError(field, "destination and next hop are of different IP versions")
    return StaticRoute(destination, nexthop)
