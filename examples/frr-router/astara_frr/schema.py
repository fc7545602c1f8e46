"""The frr section of a document: what one such router shall be. Wire types only."""

from __future__ import annotations

from astara.contract.codec import Wire


class Link(Wire, frozen=True):
    """A foot in a network, found by `mac`. `addresses` with their prefix: "10.0.0.1/24". `mtu` in bytes."""

    mac: str
    mtu: int
    addresses: tuple[str, ...]


class Route(Wire, frozen=True):
    destination: str
    nexthop: str


class FrrSection(Wire, frozen=True):
    """`enabled` false (administratively down): addresses stay, nothing is forwarded."""

    router_id: str
    enabled: bool = True
    links: tuple[Link, ...] = ()
    routes: tuple[Route, ...] = ()
