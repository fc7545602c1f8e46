"""Which translations there are, so that connections through one that ends can be ended too."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address


@dataclass(frozen=True, slots=True)
class FloatingBinding:
    """One-to-one: `floating` stands for `fixed` in both directions."""

    floating: IPv4Address
    fixed: IPv4Address


@dataclass(frozen=True, slots=True)
class ForwardBinding:
    """`floating`:`first`..`last` of `protocol` (a number) goes to `internal`. Ports are 0 for ICMP."""

    protocol: int
    floating: IPv4Address
    first: int
    last: int
    internal: IPv4Address
    internal_first: int


@dataclass(frozen=True, slots=True)
class SourceBinding:
    """Everything inside leaves as `address`."""

    address: IPv4Address


Binding = FloatingBinding | ForwardBinding | SourceBinding


@dataclass(frozen=True, slots=True)
class ConntrackConfig:
    bindings: frozenset[Binding] = frozenset()
