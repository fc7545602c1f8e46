"""The instances a router is: one, or two that know each other. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from astara.contract.snapshot import NetworkSnapshot, PortSnapshot, RouterSnapshot
from astara.drivers.router.schema import Pair
from astara.drivers.router.section import Terrain

#: Also the first half's: a router that becomes a pair keeps the instance it has.
ALONE = "0"


@dataclass(frozen=True, slots=True)
class Member:
    """`port` leads to the other half, which `pair` tells of; both None for a router that is alone."""

    slot: str
    host: str
    port: PortSnapshot | None = None
    pair: Pair | None = None


def members(router: RouterSnapshot, networks: dict[str, NetworkSnapshot]) -> list[Member]:
    """Return those that have a node. Half of a pair is one also while the other has none: its peer's address is known.

    A router that shall be a pair and has no ports for it runs alone meanwhile.
    """
    if not (router.ha and len(router.members) == 2):
        return [Member(ALONE, router.host)] if router.host else []
    terrain = Terrain(networks)
    first, second = router.members
    return [
        Member(own.slot, own.host, own.port, _pair(own.port, other.port, terrain))
        for own, other in ((first, second), (second, first))
        if own.host
    ]


def _pair(own: PortSnapshot, other: PortSnapshot, terrain: Terrain) -> Pair | None:
    addresses, peers = terrain.addresses(own), terrain.addresses(other)
    if not addresses or not peers:
        return None
    return Pair(
        mac=own.mac_address,
        port_id=own.id,
        network_id=own.network_id,
        mtu=terrain.network(own.network_id).mtu,
        address=addresses[0],
        peer=peers[0].partition("/")[0],
    )
