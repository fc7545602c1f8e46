"""Which links are behind the gate, and what keeps it open."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network

#: RFC 3927 2.1 keeps hosts off both. By its markers' addresses one half knows the other's announcements from its own.
_LOWER, _HIGHER = IPv4Network("169.254.0.0/24"), IPv4Network("169.254.255.0/24")


@dataclass(frozen=True, slots=True)
class GateConfig:
    """`heart`: MAC address of the link on which this half advertises itself; `guarded`: those of tenants' links.

    `advert_ms`: between two advertisements; each keeps the gate open for three of them. `yields`: the peer wins when
    both are active and worth the same (the lower address does, RFC 9568 6.4.3).
    """

    heart: str
    guarded: tuple[str, ...]
    advert_ms: int
    yields: bool = False

    @property
    def announced(self) -> IPv4Network:
        """Where this half's markers are (subsystems/keepalived)."""
        return _LOWER if self.yields else _HIGHER

    @property
    def watched(self) -> IPv4Network:
        """Where the other half's are."""
        return _HIGHER if self.yields else _LOWER
