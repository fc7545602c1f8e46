"""What the links of one instance shall be."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """One link, found by `mac` (lower case, colons) whatever it is called. `mtu` in bytes.

    `ipv6`: whether it speaks IPv6 at all, link-local included. `proxied`: addresses it answers neighbour
    solicitations for though they live elsewhere. `arp_retry_ms`: None for the kernel's own patience (1 s), which is too
    long where a peer that was cut off must be heard at once. `neighbours`: (address, MAC address) of those it sends to
    without asking who has the address, also while nobody answers.
    """

    mac: str
    mtu: int
    addresses: tuple[Interface, ...] = ()
    ipv6: bool = True
    proxied: tuple[IPv6Address, ...] = ()
    arp_retry_ms: int | None = None
    neighbours: tuple[tuple[IPv4Address, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LinksConfig:
    """Links that are not listed lose the addresses we gave them and are otherwise left alone."""

    links: tuple[LinkConfig, ...] = ()
