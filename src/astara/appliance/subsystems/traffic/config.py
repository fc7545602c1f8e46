"""Bandwidth limits. Directions as the router sees them: egress leaves through the link, ingress comes in by it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address


@dataclass(frozen=True, slots=True)
class Rate:
    """`kbps`: kbit/s. `burst_kb`: kbit; None: a share of the rate, as Neutron does."""

    kbps: int
    burst_kb: int | None = None


@dataclass(frozen=True, slots=True)
class HostLimit:
    """One address on the outer side of the link: its own limit, apart from the link's."""

    address: IPv4Address
    egress: Rate | None = None
    ingress: Rate | None = None


@dataclass(frozen=True, slots=True)
class LinkLimit:
    """`egress` and `ingress` hold what belongs to no host of `hosts`."""

    mac: str
    egress: Rate | None = None
    ingress: Rate | None = None
    hosts: tuple[HostLimit, ...] = ()


@dataclass(frozen=True, slots=True)
class TrafficConfig:
    """Links that are not listed have no limits."""

    links: tuple[LinkLimit, ...] = ()
