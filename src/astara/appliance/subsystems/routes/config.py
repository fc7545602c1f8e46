"""Routes and policy rules one instance shall have."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Network = IPv4Network | IPv6Network
IPAddress = IPv4Address | IPv6Address

MAIN_TABLE = 254


@dataclass(frozen=True, slots=True)
class HopConfig:
    """`mac` names the link; None: the one whose subnet the gateway is in. `onlink`: outside of every subnet of it.

    `gateway` None: the destination itself is on the link.
    """

    gateway: IPAddress | None
    mac: str | None = None
    onlink: bool = False


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """Several hops share the traffic. A smaller `metric` wins."""

    destination: Network
    hops: tuple[HopConfig, ...]
    metric: int
    table: int = MAIN_TABLE


@dataclass(frozen=True, slots=True)
class RuleConfig:
    """Lower `priority` is asked first. `suppress_up_to`: ignore answers of that prefix length or shorter.

    `mac`: of the link packets come in by; None: any.
    """

    version: int
    priority: int
    table: int
    source: Network | None = None
    mark: int = 0
    mask: int = 0
    suppress_up_to: int | None = None
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class RoutesConfig:
    routes: tuple[RouteConfig, ...] = ()
    rules: tuple[RuleConfig, ...] = ()
