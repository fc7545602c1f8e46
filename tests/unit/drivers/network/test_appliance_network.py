"""A network section becomes what each subsystem shall do."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from astara.appliance.subsystems.dnsmasq.config import DnsmasqConfig, Mode, StaticRoute
from astara.appliance.subsystems.links.config import LinkConfig
from astara.contract.codec import ContractError
from astara.drivers.network.appliance import NetworkAppliance
from astara.drivers.network.schema import AddressMode, Host, HostRoute, NetworkSection, Option, ServedSubnet

MAC = "fa:16:3e:00:00:02"
BLUE = ServedSubnet(
    id="blue",
    cidr="10.1.0.0/24",
    address="10.1.0.2",
    mode=AddressMode.DHCPV4,
    gateway="10.1.0.1",
    host_routes=(HostRoute(destination="192.0.2.0/24", nexthop="10.1.0.9"),),
)
GREEN = ServedSubnet(
    id="green", cidr="fd01::/64", address="fd01::2", mode=AddressMode.DHCPV6_STATEFUL, gateway="fd01::1"
)
SERVER = Host(
    port_id="server",
    mac="FA:16:3E:00:00:0A",
    addresses=("10.1.0.5", "fd01::5"),
    hostname="web",
    aliases=("www",),
    options=(Option(name="150", value="10.1.0.9", ip_version=4),),
    instance_id="instance-a",
    project_id="project-a",
)
ROUTER = Host(port_id="router", mac="fa:16:3e:00:00:01", addresses=("10.1.0.1",), hostname="gw")


def section(**changes: Any) -> NetworkSection:
    wish: dict[str, Any] = {
        "network_id": "net",
        "mac": MAC.upper(),
        "port_id": "dhcp",
        "mtu": 1442,
        "addresses": ("10.1.0.2/24", "fd01::2/64"),
        "subnets": (BLUE, GREEN),
        "hosts": (SERVER, ROUTER),
    }
    return NetworkSection(**(wish | changes))


def configs(**changes: Any) -> dict[str, Any]:
    return dict(NetworkAppliance().configs(section(**changes)))


def dnsmasq(**changes: Any) -> DnsmasqConfig:
    found = configs(**changes)["dnsmasq"]
    assert isinstance(found, DnsmasqConfig)
    return found


def test_the_link_has_our_ports_addresses_and_the_metadata_addresses() -> None:
    (link,) = configs()["links"].links

    assert link == LinkConfig(
        MAC,
        1442,
        addresses=tuple(
            ip_interface(text) for text in ("10.1.0.2/24", "fd01::2/64", "169.254.169.254/32", "fe80::a9fe:a9fe/64")
        ),
    )


def test_subnets_keep_their_meaning() -> None:
    blue, green = dnsmasq().subnets

    assert (blue.mode, green.mode) == (Mode.DHCPV4, Mode.STATEFUL)
    assert blue.gateway == ip_address("10.1.0.1")
    assert green.gateway is None
    assert blue.dns_servers == (ip_address("10.1.0.2"),)
    assert green.dns_servers == (ip_address("fd01::2"),)
    assert blue.routes == (
        StaticRoute(ip_network("192.0.2.0/24"), ip_address("10.1.0.9")),  # type: ignore[arg-type]  # v4 by its text
        StaticRoute(ip_network("169.254.169.254/32"), ip_address("10.1.0.2")),  # type: ignore[arg-type]
    )


def subnet(**changes: Any) -> Any:
    return dnsmasq(subnets=(_with(BLUE, **changes),)).subnets[0]


def _with(base: ServedSubnet, **changes: Any) -> ServedSubnet:
    return ServedSubnet(**({name: getattr(base, name) for name in base.__struct_fields__} | changes))


def test_resolvers_are_the_subnets_own_ours_or_none() -> None:
    assert subnet(dns_servers=("9.9.9.9", "2620:fe::fe")).dns_servers == (ip_address("9.9.9.9"),)
    assert subnet(dns_servers=()).dns_servers == (ip_address("10.1.0.2"),)
    assert subnet(dns_servers=("0.0.0.0",)).dns_servers == ()


def test_a_host_route_to_everywhere_is_a_gateway_unless_there_is_one() -> None:
    everywhere = (HostRoute(destination="0.0.0.0/0", nexthop="10.1.0.7"),)

    assert subnet(gateway=None, host_routes=everywhere).gateway == ip_address("10.1.0.7")
    assert subnet(host_routes=everywhere).gateway == ip_address("10.1.0.1")
    assert all(route.destination.prefixlen for route in subnet(host_routes=everywhere).routes)


def test_a_subnet_without_an_address_of_ours_is_not_served() -> None:
    assert dnsmasq(subnets=(_with(BLUE, address=None),)).subnets == ()


def test_only_servers_get_metadata_and_as_their_port_says() -> None:
    (who,) = configs()["metadata"].identities

    assert (who.mac, who.instance_id, who.project_id) == ("fa:16:3e:00:00:0a", "instance-a", "project-a")
    assert who.addresses == (ip_address("10.1.0.5"), ip_address("fd01::5"))


def test_a_network_without_metadata_has_neither_service_nor_address_nor_route() -> None:
    found = configs(metadata=False)

    assert "metadata" not in found
    assert [str(address) for address in found["links"].links[0].addresses] == ["10.1.0.2/24", "fd01::2/64"]
    assert [str(route.destination) for route in found["dnsmasq"].subnets[0].routes] == ["192.0.2.0/24"]


def test_the_way_out_is_the_subnets_gateway_once_per_ip_version() -> None:
    red = _with(BLUE, id="red", cidr="10.2.0.0/24", address="10.2.0.2", gateway="10.2.0.1", host_routes=())

    routes = configs(subnets=(BLUE, red, GREEN))["routes"].routes

    assert [(str(route.destination), str(route.hops[0].gateway)) for route in routes] == [
        ("0.0.0.0/0", "10.1.0.1"),
        ("::/0", "fd01::1"),
    ]


def test_administratively_down_is_closed_and_silent() -> None:
    found = configs(enabled=False)

    assert set(found) == {"links", "sysctl", "nftables"}
    (link,) = found["links"].links
    assert link.addresses == ()
    assert all(not members for members in found["nftables"].elements.values())


def test_nothing_is_ever_forwarded() -> None:
    settings = dict(configs()["sysctl"].settings)

    assert settings["ipv4/ip_forward"] == "0"
    assert settings["ipv6/conf/all/forwarding"] == "0"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"mac": "x"}, "$.mac"),
        ({"domain": "a\nb"}, "$.domain"),
        ({"addresses": ("10.1.0.2/24", "x")}, "$.addresses[1]"),
        ({"addresses": ("fe80::1%eth0/64",)}, "$.addresses[0]"),
        ({"upstream_dns": ("9.9.9.9", "dns.example")}, "$.upstream_dns[1]"),
        ({"subnets": (BLUE, _with(BLUE, cidr="10.1.0.1/24"))}, "$.subnets[1].cidr"),
        ({"subnets": (_with(BLUE, id="a,b"),)}, "$.subnets[0].id"),
        ({"subnets": (_with(BLUE, gateway="fd00::1"),)}, "$.subnets[0].gateway"),
        ({"subnets": (_with(BLUE, dns_servers=("9.9.9.9\n",)),)}, "$.subnets[0].dns_servers[0]"),
        (
            {"subnets": (_with(BLUE, host_routes=(HostRoute(destination="::/0", nexthop="fd00::1"),)),)},
            "$.subnets[0].host_routes[0]",
        ),
        ({"hosts": (SERVER, Host(port_id="p", mac="x", addresses=(), hostname=""))}, "$.hosts[1]"),
        ({"hosts": (Host(port_id="p", mac=MAC, addresses=("x",), hostname=""),)}, "$.hosts[0].addresses[0]"),
    ],
)
def test_a_refusal_names_the_field_and_never_the_value(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ContractError) as refused:
        configs(**changes)

    assert refused.value.field == field
    assert "\n" not in str(refused.value)


def test_a_tenants_odd_words_refuse_nothing() -> None:
    """One port's name or option must not keep a shared network from being served."""
    odd = Host(
        port_id="odd",
        mac="fa:16:3e:00:00:0b",
        addresses=("10.1.0.6",),
        hostname="a b\nc",
        options=(Option(name="\n", value="\n", ip_version=4),),
    )

    assert len(dnsmasq(hosts=(SERVER, odd)).hosts) == 2
