"""Sets of address ranges, which the kernel keeps as bounds: what is wished is there, whatever was there before."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from astara.appliance.boundaries import Place
from astara.appliance.subsystems.nftables.config import Element, Ruleset
from astara.appliance.subsystems.nftables.subsystem import NftablesSubsystem
from astara.host import namespaces
from support.node_agent import isolated

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]
STRUCTURE = """
  set v4 { type ipv4_addr; flags interval; }
  set v6 { type ipv6_addr; flags interval; }
"""
#: Each follows the one before: neighbours, a range that grows, one that shrinks, both ends of all addresses, nothing.
WISHES: tuple[tuple[str, ...], ...] = (
    ("10.0.1.0/24", "10.0.2.0/24", "fd00:1::/64"),
    ("10.0.1.0/24", "10.0.2.0/23", "fd00:1::/64", "fd00:1:0:1::/64"),
    ("10.0.0.0/16", "fd00:1::/63"),
    ("10.0.1.0/32", "0.0.0.0/8", "255.255.255.0/24", "ffff::/16", "::/96"),
    ("0.0.0.0/0", "::/0"),
    (),
    ("192.168.0.0/25", "192.168.0.128/26", "2001:db8::1/128"),
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    namespaces.prepare_directory()
    instance = str(uuid.uuid4())
    try:
        namespaces.ensure(instance)
        yield Place(instance, namespaces.path_of(instance), tmp_path)
    finally:
        namespaces.remove(instance)


def test_every_wish_follows_every_other(place: Place) -> None:
    filter_ = NftablesSubsystem()
    for before in WISHES:
        for wish in map(ruleset, (before, *WISHES)):
            filter_.check(place, wish)
            filter_.apply(place, wish, None)
            assert filter_.read_back(place, wish) == []
            assert not filter_.apply(place, wish, None), "an equal wish touched something"


@pytest.mark.parametrize("wish", WISHES)
def test_nft_lists_what_was_wished(place: Place, wish: tuple[str, ...]) -> None:
    NftablesSubsystem().apply(place, ruleset(wish), None)
    listed = nft(place, "list", "table", "inet", "astara")
    for prefix in wish:
        network = ip_network(prefix)
        spelled = str(network.network_address) if network.num_addresses == 1 else prefix
        assert spelled in listed or network.prefixlen == 0, listed
    assert listed.count("elements") == len({ip_network(prefix).version for prefix in wish})


def test_a_range_of_somebody_else_is_told_and_taken_away(place: Place) -> None:
    filter_, wish = NftablesSubsystem(), ruleset(("10.0.1.0/24",))
    filter_.apply(place, wish, None)
    nft(place, "add", "element", "inet", "astara", "v4", "{ 10.0.2.0/24 }")
    nft(place, "delete", "element", "inet", "astara", "v4", "{ 10.0.1.0/24 }")
    told = [found.detail for found in filter_.read_back(place, wish)]
    assert told == ["v4: 10.0.1.0/24 is missing", "v4: 10.0.2.0/24 is not wanted"]
    filter_.apply(place, wish, None)
    assert filter_.read_back(place, wish) == []


def ruleset(prefixes: tuple[str, ...]) -> Ruleset:
    networks = [ip_network(prefix) for prefix in prefixes]
    return Ruleset(
        STRUCTURE,
        {f"v{v}": frozenset(Element((one,)) for one in networks if one.version == v) for v in (4, 6)},
    )


def nft(place: Place, *words: str) -> str:
    assert place.netns is not None
    command = ["ip", "netns", "exec", place.netns.name, "nft", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
