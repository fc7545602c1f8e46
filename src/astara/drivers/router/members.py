"""The instances a router is: one, or two that know each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from astara.contract.snapshot import NetworkSnapshot, PortSnapshot, RouterSnapshot
from astara.drivers.router.schema import ADVERT_MS, ADVERTS_MS, Pair
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

    A router that shall be a pair and has no ports for it, or none with an address, runs alone meanwhile: two that do
    not know each other would both forward.
    """
    alone = [Member(ALONE, router.host)] if router.host else []
    if not (router.ha and len(router.members) == 2):
        return alone
    terrain = Terrain(networks)
    first, second = router.members
    advert_ms = advert_of(router.flavor_metainfo)
    pairs = (
        _pair(first.port, second.port, terrain, advert_ms),
        _pair(second.port, first.port, terrain, advert_ms),
    )
    if None in pairs:
        return alone
    halves = zip(router.members, pairs, strict=True)
    return [Member(half.slot, half.host, half.port, pair) for half, pair in halves if half.host]


def advert_of(metainfo: Mapping[str, str]) -> int:
    """Return the milliseconds between advertisements: a flavor may say `ha_advert_ms`, within what VRRP can do."""
    said = metainfo.get("ha_advert_ms", "")
    wish = int(said) if said.isascii() and said.isdigit() else ADVERT_MS
    return wish if wish in ADVERTS_MS else ADVERT_MS


def _pair(own: PortSnapshot, other: PortSnapshot, terrain: Terrain, advert_ms: int) -> Pair | None:
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
        advert_ms=advert_ms,
        peer_mac=other.mac_address,
    )
