"""Wishes for dnsmasq and radvd that together use everything."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from astara.appliance.subsystems.dnsmasq.config import (
    Address,
    DnsmasqConfig,
    Host,
    Mode,
    PortOption,
    StaticRoute,
    Subnet,
)
from astara.appliance.subsystems.radvd.config import AdvertisedLink, Prefix, PrefixMode, RadvdConfig

OWN_MAC = "fa:16:3e:00:00:02"


def subnet_v4(identifier: str = "blue", third: int = 1, *, gateway: bool = True) -> Subnet:
    return Subnet(
        id=identifier,
        network=IPv4Network(f"10.{third}.0.0/24"),
        address=IPv4Address(f"10.{third}.0.2"),
        mode=Mode.DHCPV4,
        gateway=IPv4Address(f"10.{third}.0.1") if gateway else None,
        dns_servers=(IPv4Address(f"10.{third}.0.2"),),
        routes=(StaticRoute(IPv4Network("169.254.169.254/32"), IPv4Address(f"10.{third}.0.2")),),
    )


def subnet_v6(identifier: str, mode: Mode, *, number: int = 1, length: int = 64) -> Subnet:
    return Subnet(
        id=identifier,
        network=IPv6Network(f"fd0{number}::/{length}"),
        address=IPv6Address(f"fd0{number}::2"),
        mode=mode,
        dns_servers=(IPv6Address(f"fd0{number}::2"),),
    )


def host(number: int, *addresses: str, options: tuple[PortOption, ...] = ()) -> Host:
    parsed: tuple[Address, ...] = tuple(ip_address(each) for each in addresses)
    return Host(f"port{number}", f"fa:16:3e:00:00:{number:02x}", parsed, f"host{number}", (), options)


def dnsmasq_config(
    *subnets: Subnet, hosts: tuple[Host, ...] = (), upstream: tuple[Address, ...] = (), mtu: int = 1442
) -> DnsmasqConfig:
    return DnsmasqConfig(OWN_MAC, "openstacklocal", mtu, subnets, hosts, upstream)


def dnsmasq_wishes() -> dict[str, DnsmasqConfig]:
    options = (
        PortOption("bootfile-name", "a b, c", 4),
        PortOption("150", "10.1.0.9", 4),
        PortOption("bootfile-url", "tftp://[fd01::9]/x", 6),
    )
    dual = (host(0x0A, "10.1.0.5", "fd01::5", options=options), host(0x0B, "10.1.0.6", "fd01::6", "fd01::7"))
    stateful, stateless = subnet_v6("green", Mode.STATEFUL), subnet_v6("grey", Mode.STATELESS, number=2)
    return {
        "v4-only": dnsmasq_config(subnet_v4(), hosts=(host(0x0A, "10.1.0.5"),)),
        "v6-only": dnsmasq_config(stateful, stateless, hosts=(host(0x0A, "fd01::5", "fd02::5"),)),
        "dual-stack": dnsmasq_config(
            subnet_v4(), stateful, hosts=dual, upstream=(IPv4Address("9.9.9.9"), IPv6Address("2620:fe::fe"))
        ),
        "two-subnets": dnsmasq_config(
            subnet_v4(), subnet_v4("red", 2, gateway=False), hosts=(host(0x0A, "10.1.0.5", "10.2.0.5"),)
        ),
        "names-only": dnsmasq_config(subnet_v6("white", Mode.NONE), hosts=(host(0x0A, "fd01::5"),)),
    }


def radvd_wishes() -> dict[str, RadvdConfig]:
    def link(mode: PrefixMode, mtu: int = 1442) -> AdvertisedLink:
        return AdvertisedLink(OWN_MAC, mtu, (Prefix(IPv6Network("fd01::/64"), mode),), (IPv6Address("fd01::53"),))

    mixed = AdvertisedLink(
        "fa:16:3e:00:00:03",
        1280,
        (
            Prefix(IPv6Network("fd02::/64"), PrefixMode.SLAAC),
            Prefix(IPv6Network("fd03::/64"), PrefixMode.DHCPV6_STATEFUL),
        ),
    )
    return {
        "slaac": RadvdConfig((link(PrefixMode.SLAAC),)),
        "stateless": RadvdConfig((link(PrefixMode.DHCPV6_STATELESS),)),
        "stateful": RadvdConfig((link(PrefixMode.DHCPV6_STATEFUL, mtu=1200),)),
        "two-links": RadvdConfig((mixed, link(PrefixMode.SLAAC))),
    }
