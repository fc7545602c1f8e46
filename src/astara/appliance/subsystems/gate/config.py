"""Which links are behind the gate, and what keeps it open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GateConfig:
    """`heart`: MAC address of the link on which this half advertises itself; `guarded`: those of tenants' links.

    `advert_ms`: between two advertisements; each keeps the gate open for three of them. `yields`: the peer wins when
    both are active.
    """

    heart: str
    guarded: tuple[str, ...]
    advert_ms: int
    yields: bool = False
