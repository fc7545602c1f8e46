"""What one network's DHCP and DNS shall say.

Addresses are parsed and ids are checked, so they cannot carry syntax. Names and option values are tenants' own
words: they stay plain text here and are quoted or left out by `render`, so that one tenant's odd value never keeps
a network from being served.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

#: Neutron's dhcp_lease_duration.
LEASE_S = 86400

_TAG = re.compile(r"[0-9A-Za-z-]{1,64}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LABEL = re.compile(r"[0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?")
_LONGEST_NAME = 253


class Mode(enum.StrEnum):
    """How hosts of a subnet use DHCP."""

    DHCPV4 = "dhcpv4"
    STATEFUL = "dhcpv6-stateful"
    STATELESS = "dhcpv6-stateless"
    NONE = "none"  # SLAAC only: the subnet matters for names


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """One entry of option 121 (RFC 3442)."""

    destination: IPv4Network
    nexthop: IPv4Address


@dataclass(frozen=True, slots=True)
class Subnet:
    """One subnet served from `address`, our own address in it.

    `dns_servers` is what is announced, complete: empty announces none. `gateway` None is announced as none.
    `routes` and `gateway` concern DHCPv4 only. Raises ValueError when `id` cannot be a tag.
    """

    id: str
    network: Network
    address: Address
    mode: Mode
    gateway: IPv4Address | None = None
    dns_servers: tuple[Address, ...] = ()
    routes: tuple[StaticRoute, ...] = ()

    def __post_init__(self) -> None:
        _must(_TAG.fullmatch(self.id), "id", "letters, digits and dashes")


@dataclass(frozen=True, slots=True)
class PortOption:
    """A DHCP option of one port, in the tenant's words: dnsmasq's option name or number, and its value."""

    name: str
    value: str
    ip_version: int


@dataclass(frozen=True, slots=True)
class Host:
    """One port: the only kind of client that is served. Raises ValueError for a bad id or MAC address.

    `hostname` and `aliases` are the tenant's words.
    """

    port_id: str
    mac: str
    addresses: tuple[Address, ...]
    hostname: str = ""
    aliases: tuple[str, ...] = ()
    options: tuple[PortOption, ...] = ()

    def __post_init__(self) -> None:
        _must(_TAG.fullmatch(self.port_id), "port_id", "letters, digits and dashes")
        _must(is_mac(self.mac), "mac", "a MAC address in lower case")


@dataclass(frozen=True, slots=True)
class DnsmasqConfig:
    """DHCP and DNS on the link with `mac`. `subnets` empty: no dnsmasq runs. `mtu` in bytes; 0 announces none.

    `upstream` are the resolvers asked for other names; empty refuses other names. `domain` is a plain domain
    name; raises ValueError otherwise.
    """

    mac: str
    domain: str
    mtu: int = 0
    subnets: tuple[Subnet, ...] = ()
    hosts: tuple[Host, ...] = ()
    upstream: tuple[Address, ...] = field(default=())

    def __post_init__(self) -> None:
        _must(is_mac(self.mac), "mac", "a MAC address in lower case")
        _must(is_domain(self.domain), "domain", "a domain name of letters, digits and dashes")


def is_label(text: str) -> bool:
    """Whether `text` is one label of a host name (RFC 1123 2.1)."""
    return _LABEL.fullmatch(text) is not None


def is_domain(text: str) -> bool:
    """Whether `text` is labels joined by dots, short enough, without a dot at the end (RFC 1123 2.1)."""
    return len(text) <= _LONGEST_NAME and all(is_label(label) for label in text.split("."))


def is_mac(text: str) -> bool:
    """Whether `text` is a MAC address, lower case, with colons."""
    return _MAC.fullmatch(text) is not None


def _must(holds: object, name: str, wanted: str) -> None:
    if not holds:
        raise ValueError(f"{name}: must be {wanted}")
