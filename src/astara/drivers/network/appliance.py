"""The network driver's appliance side: a network section becomes one config per subsystem. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_interface, ip_network
from typing import Any, TypeVar

from astara.appliance.subsystems.dnsmasq.config import (
    Address,
    DnsmasqConfig,
    Mode,
    Network,
    PortOption,
    StaticRoute,
    Subnet,
    is_mac,
)
from astara.appliance.subsystems.dnsmasq.config import Host as ServedHost
from astara.appliance.subsystems.links.config import Interface, LinkConfig, LinksConfig
from astara.appliance.subsystems.metadata.config import METADATA_V4, METADATA_V6, Identity, MetadataConfig
from astara.appliance.subsystems.routes.config import HopConfig, RouteConfig, RoutesConfig
from astara.appliance.subsystems.sysctl.config import SysctlConfig
from astara.contract.codec import ContractError
from astara.drivers.network.filter import ruleset
from astara.drivers.network.schema import AddressMode, Host, NetworkSection, ServedSubnet

T = TypeVar("T")

_DEFAULT_METRIC = 100
_MODES = {
    AddressMode.DHCPV4: Mode.DHCPV4,
    AddressMode.DHCPV6_STATEFUL: Mode.STATEFUL,
    AddressMode.DHCPV6_STATELESS: Mode.STATELESS,
    AddressMode.SLAAC: Mode.NONE,
}
#: A host between networks only if somebody sets it wrong: nothing is forwarded, nothing learnt from the wire.
_CLOSED = SysctlConfig(
    (
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/all/accept_redirects", "0"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/ip_forward", "0"),
        ("ipv6/conf/all/forwarding", "0"),
    )
)


class NetworkAppliance:
    """DHCP, DNS and metadata of one network."""

    name = "network"
    section_type = NetworkSection

    def configs(self, section: NetworkSection) -> Mapping[str, Any]:
        """Map subsystem name -> its config. Administratively down: the link stays, closed and silent.

        Raises:
            ContractError: naming the field that holds no address, network or id.
        """
        mac = _mac(section.mac)
        configs: dict[str, Any] = {
            "links": LinksConfig((_link(section, mac),)),
            "sysctl": _CLOSED,
            "nftables": ruleset(mac, _subnets(section), enabled=section.enabled),
        }
        if section.enabled:
            configs["routes"] = _routes(section, mac)
            configs["dnsmasq"] = _dnsmasq(section, mac)
            if section.metadata:
                configs["metadata"] = MetadataConfig(mac, _identities(section))
        return configs


def _link(section: NetworkSection, mac: str) -> LinkConfig:
    if not section.enabled:
        return LinkConfig(mac, section.mtu, ipv6=False)
    own = [
        _parse(ip_interface, text, f"$.addresses[{index}]", "an address with prefix length")
        for index, text in enumerate(section.addresses)
    ]
    served: list[Interface] = [ip_interface(METADATA_V4), ip_interface((METADATA_V6, 64))] if section.metadata else []
    return LinkConfig(mac, section.mtu, addresses=(*own, *served))


def _subnets(section: NetworkSection) -> list[Network]:
    """Every subnet of the network that is known: the served ones, and those in which the instance has an address."""
    own = [
        _parse(ip_interface, text, f"$.addresses[{index}]", "an address with prefix length").network
        for index, text in enumerate(section.addresses)
    ]
    return [*own, *(_network(subnet.cidr, f"$.subnets[{index}].cidr") for index, subnet in enumerate(section.subnets))]


def _routes(section: NetworkSection, mac: str) -> RoutesConfig:
    """The way out, for answers to machines behind a router and for questions to upstream resolvers."""
    defaults: dict[int, RouteConfig] = {}
    for index, subnet in enumerate(section.subnets):
        if subnet.gateway is None or subnet.address is None:
            continue
        gateway = _address(subnet.gateway, f"$.subnets[{index}].gateway")
        network = _network(subnet.cidr, f"$.subnets[{index}].cidr")
        hop = HopConfig(gateway, mac=mac, onlink=gateway not in network)
        everything = ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0")
        defaults.setdefault(gateway.version, RouteConfig(everything, (hop,), _DEFAULT_METRIC))
    return RoutesConfig(tuple(defaults.values()))


def _dnsmasq(section: NetworkSection, mac: str) -> DnsmasqConfig:
    subnets = tuple(
        served
        for index, subnet in enumerate(section.subnets)
        if (served := _subnet(subnet, f"$.subnets[{index}]", metadata=section.metadata)) is not None
    )
    hosts = tuple(_host(host, f"$.hosts[{index}]") for index, host in enumerate(section.hosts))
    upstream = tuple(_address(text, f"$.upstream_dns[{index}]") for index, text in enumerate(section.upstream_dns))
    return _made(lambda: DnsmasqConfig(mac, section.domain, section.mtu, subnets, hosts, upstream), "$.domain")


def _subnet(subnet: ServedSubnet, at: str, *, metadata: bool) -> Subnet | None:
    """Return what is served of a subnet; None when our port has no address in it (yet)."""
    if subnet.address is None:
        return None
    address = _address(subnet.address, f"{at}.address")
    network = _network(subnet.cidr, f"{at}.cidr")
    gateway, routes = _gateway_and_routes(subnet, at) if network.version == 4 else (None, [])
    if metadata and isinstance(address, IPv4Address):
        routes.append(StaticRoute(IPv4Network(METADATA_V4), address))
    return _made(
        lambda: Subnet(
            id=subnet.id,
            network=network,
            address=address,
            mode=_MODES[subnet.mode],
            gateway=gateway,
            dns_servers=_announced(subnet, at, address),
            routes=tuple(routes),
        ),
        f"{at}.id",
    )


def _gateway_and_routes(subnet: ServedSubnet, at: str) -> tuple[IPv4Address | None, list[StaticRoute]]:
    """A host route to everywhere is a gateway, unless the subnet has one (as neutron.agent.linux.dhcp does)."""
    gateway = _address(subnet.gateway, f"{at}.gateway") if subnet.gateway else None
    routes = []
    for index, route in enumerate(subnet.host_routes):
        where = f"{at}.host_routes[{index}]"
        destination = _network(route.destination, f"{where}.destination")
        nexthop = _address(route.nexthop, f"{where}.nexthop")
        if not (isinstance(destination, IPv4Network) and isinstance(nexthop, IPv4Address)):
            raise ContractError(where, "not IPv4, in an IPv4 subnet", "send routes of the subnet's IP version")
        if destination.prefixlen == 0:
            gateway = gateway or nexthop
        else:
            routes.append(StaticRoute(destination, nexthop))
    if gateway is not None and not isinstance(gateway, IPv4Address):
        raise ContractError(f"{at}.gateway", "not IPv4, in an IPv4 subnet", "send the subnet's own gateway")
    return gateway, routes


def _announced(subnet: ServedSubnet, at: str, own: Address) -> tuple[Address, ...]:
    """Return the resolvers to announce: ours when the subnet names none; none when it names 0.0.0.0 or ::."""
    named = [_address(text, f"{at}.dns_servers[{index}]") for index, text in enumerate(subnet.dns_servers)]
    if any(server.is_unspecified for server in named):
        return ()
    same = tuple(server for server in named if server.version == own.version)
    return same if named else (own,)


def _host(host: Host, at: str) -> ServedHost:
    return _made(
        lambda: ServedHost(
            port_id=host.port_id,
            mac=host.mac.lower(),
            addresses=_addresses(host, at),
            hostname=host.hostname,
            aliases=host.aliases,
            options=tuple(PortOption(option.name, option.value, option.ip_version) for option in host.options),
        ),
        at,
    )


def _identities(section: NetworkSection) -> tuple[Identity, ...]:
    return tuple(
        Identity(host.mac.lower(), _addresses(host, f"$.hosts[{index}]"), host.instance_id, host.project_id)
        for index, host in enumerate(section.hosts)
        if host.instance_id
    )


def _mac(text: str) -> str:
    if not is_mac(text.lower()):
        raise ContractError("$.mac", "not a MAC address", "send six pairs of hexadecimal digits with colons")
    return text.lower()


def _addresses(host: Host, at: str) -> tuple[Address, ...]:
    return tuple(_address(text, f"{at}.addresses[{index}]") for index, text in enumerate(host.addresses))


def _address(text: str, at: str) -> IPv4Address | IPv6Address:
    return _parse(ip_address, text, at, "an address")


def _network(text: str, at: str) -> Network:
    return _parse(ip_network, text, at, "a network")


def _parse(parser: Callable[[str], T], text: str, at: str, wanted: str) -> T:
    if "%" in text:  # a zone: parsed by ipaddress, and text of its own
        raise ContractError(at, "an address with a zone", f"send {wanted} without zone")
    return _made(lambda: parser(text), at, f"send {wanted}")


def _made(make: Callable[[], T], at: str, remedy: str = "") -> T:
    """Turn ValueError into a refusal that names the field and never repeats the value."""
    try:
        return make()
    except ContractError:  # names a field further inside
        raise
    except ValueError as error:
        reason = "cannot be parsed" if remedy else str(error)
        raise ContractError(at, reason, remedy) from None
