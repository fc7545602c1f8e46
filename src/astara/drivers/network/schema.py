"""The network section of a document: DHCP, DNS and metadata for one network. Wire types only."""

from __future__ import annotations

import enum

from astara.contract.codec import Wire


class AddressMode(enum.StrEnum):
    """How hosts of a subnet get their addresses from DHCP."""

    DHCPV4 = "dhcpv4"
    DHCPV6_STATEFUL = "dhcpv6-stateful"
    DHCPV6_STATELESS = "dhcpv6-stateless"  # addresses by SLAAC, options by DHCPv6
    SLAAC = "slaac"  # nothing by DHCP; the subnet is listed for DNS names and metadata only


class HostRoute(Wire, frozen=True):
    destination: str
    nexthop: str


class ServedSubnet(Wire, frozen=True):
    """One subnet with DHCP enabled. `address` is our own DHCP port's address in it, without prefix length."""

    id: str
    cidr: str
    address: str | None
    mode: AddressMode
    gateway: str | None = None
    dns_servers: tuple[str, ...] = ()
    host_routes: tuple[HostRoute, ...] = ()


class Option(Wire, frozen=True):
    """A Neutron extra DHCP option: `name` is dnsmasq's option name or number."""

    name: str
    value: str
    ip_version: int


class Host(Wire, frozen=True):
    """One Neutron port: static lease, DNS record, and its metadata identity.

    `instance_id` is empty for ports that belong to no server: they get no metadata.
    """

    port_id: str
    mac: str
    addresses: tuple[str, ...]
    hostname: str
    aliases: tuple[str, ...] = ()  # further names, e.g. Neutron's dns_name
    options: tuple[Option, ...] = ()
    instance_id: str = ""
    project_id: str = ""


class NetworkSection(Wire, frozen=True):
    """One network. `mac` is the DHCP port's; `domain` ends without a dot."""

    network_id: str
    mac: str
    port_id: str
    mtu: int
    enabled: bool = True
    domain: str = "openstacklocal"
    addresses: tuple[str, ...] = ()  # of the DHCP port, with prefix length
    subnets: tuple[ServedSubnet, ...] = ()
    hosts: tuple[Host, ...] = ()
    #: Resolvers the DNS forwards to; empty: names of this network only.
    upstream_dns: tuple[str, ...] = ()
    metadata: bool = True
