"""One VRRP router with one peer. Addresses are parsed: nothing here can carry syntax."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address


@dataclass(frozen=True, slots=True)
class Marker:
    """An address keepalived announces on a tenant link when it takes over: switches learn where we are now."""

    mac: str
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class Nexthop:
    """A next hop on the link `mac`; while none of them answers, the other half is the better one if its does."""

    mac: str
    address: IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class KeepalivedConfig:
    """`heart`: MAC address of the link on which the halves speak; `address` and `peer` are on it.

    `advert_ms`: between two advertisements, a multiple of 10 (RFC 9568 5.2.7 counts centiseconds).
    """

    heart: str
    address: IPv4Address
    peer: IPv4Address
    advert_ms: int
    markers: tuple[Marker, ...] = ()
    nexthops: tuple[Nexthop, ...] = ()
