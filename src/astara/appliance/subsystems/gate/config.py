"""Which links are behind the gate, and what keeps it open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GateConfig:
    """`heart`: MAC address of the link on which this half advertises itself; `guarded`: those of tenants' links.

    `lease_ms`: how long one advertisement keeps the gate open. `yields`: the peer wins when both are active.
    """

    heart: str
    guarded: tuple[str, ...]
    lease_ms: int
    yields: bool = False
