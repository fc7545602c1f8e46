"""What router advertisements of one instance shall say. Addresses are parsed: nothing here can carry syntax."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network


class PrefixMode(enum.StrEnum):
    """How hosts of a prefix configure themselves; the values are Neutron's ipv6_ra_mode.

    RFC 4861 4.2 (M, O flags of the advertisement) and RFC 4862 5.5.3 (A flag of the prefix).
    """

    SLAAC = "slaac"  # A=1 M=0 O=0
    DHCPV6_STATELESS = "dhcpv6-stateless"  # A=1 M=0 O=1
    DHCPV6_STATEFUL = "dhcpv6-stateful"  # A=0 M=1 O=1

    @property
    def autonomous(self) -> bool:
        """A: hosts form addresses from this prefix themselves."""
        return self is not PrefixMode.DHCPV6_STATEFUL

    @property
    def managed(self) -> bool:
        """M: addresses come from DHCPv6."""
        return self is PrefixMode.DHCPV6_STATEFUL

    @property
    def other(self) -> bool:
        """O: other settings (DNS) come from DHCPv6."""
        return self is not PrefixMode.SLAAC


@dataclass(frozen=True, slots=True)
class Prefix:
    """One on-link prefix. Lifetimes in seconds are RFC 4861 6.2.1's defaults."""

    network: IPv6Network
    mode: PrefixMode
    valid_lifetime_s: int = 86400
    preferred_lifetime_s: int = 14400


@dataclass(frozen=True, slots=True)
class AdvertisedLink:
    """One link that advertises; found by `mac` whatever it is called. `mtu` in bytes.

    `dns_servers` become RDNSS (RFC 8106). M and O are set when any prefix of the link asks for them.
    """

    mac: str
    mtu: int
    prefixes: tuple[Prefix, ...]
    dns_servers: tuple[IPv6Address, ...] = ()
    #: Bounds between unsolicited advertisements; Neutron's values.
    min_interval_s: int = 30
    max_interval_s: int = 100

    @property
    def managed(self) -> bool:
        return any(prefix.mode.managed for prefix in self.prefixes)

    @property
    def other(self) -> bool:
        return any(prefix.mode.other for prefix in self.prefixes)


@dataclass(frozen=True, slots=True)
class RadvdConfig:
    """Every link of the instance that advertises; none means that no radvd runs."""

    links: tuple[AdvertisedLink, ...] = ()
