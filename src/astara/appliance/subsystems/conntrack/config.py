"""Which connections there may be: what is translated, and who may open untranslated ones to whom."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

#: Set in the mark of a connection that has been closed: whoever filters drops its packets.
CLOSED_MARK = 0x10000


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
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Routed:
    """Who may open connections that nothing translates. An address in none of `inside` is outside.

    `inside`: networks and their address scopes ("" is a scope too); those of one scope see each other.
    `leaving`: networks whose hosts show outside their own addresses. `entered`: prefixes that outside may open
    connections to.
    """

    inside: frozenset[tuple[Network, str]] = frozenset()
    leaving: frozenset[Network] = frozenset()
    entered: frozenset[Network] = frozenset()

    def allows(self, source: IPv4Address | IPv6Address, destination: IPv4Address | IPv6Address) -> bool:
        """Whether `source` may open a connection to `destination`."""
        left, right = self._scope(source), self._scope(destination)
        if left is None:
            return any(destination in network for network in self.entered)
        if right is None:
            return any(source in network for network in self.leaving)
        return left == right

    def covers(self, other: Routed) -> bool:
        """Whether everything `other` allows is allowed here without looking at addresses."""
        return self.inside >= other.inside and self.leaving >= other.leaving and self.entered >= other.entered

    def _scope(self, address: IPv4Address | IPv6Address) -> str | None:
        return next((scope for network, scope in self.inside if address in network), None)


@dataclass(frozen=True, slots=True)
class ConntrackConfig:
    bindings: frozenset[Binding] = frozenset()
    routed: Routed = Routed()
