"""Going into a namespace and coming back, and what the kernel's listing of links says of them inside."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from astara.appliance.system import devconf, netns, rtnetlink, sysctl
from astara.appliance.system.devconf import LinkSettings
from astara.appliance.system.netlink import Netlink
from astara.host import namespaces
from support.node_agent import isolated
from support.segment import ip

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]


@pytest.fixture
def places() -> Iterator[tuple[Path, Path]]:
    namespaces.prepare_directory()
    ids = [str(uuid.uuid4()), str(uuid.uuid4())]
    try:
        for one in ids:
            namespaces.ensure(one)
        yield namespaces.path_of(ids[0]), namespaces.path_of(ids[1])
    finally:
        for one in ids:
            namespaces.remove(one)


def test_one_way_in_serves_everybody_inside_and_all_come_back(places: tuple[Path, Path]) -> None:
    one, other = places
    home = netns.inode(None)
    with netns.entered(one):
        with netns.entered(one):
            assert netns.inode(None) == netns.inode(one)
        assert netns.inode(None) == netns.inode(one)
        assert netns.here() == one
        with netns.entered(other), netns.entered(one):
            assert netns.inode(None) == netns.inode(one)
        assert netns.inode(None) == netns.inode(one)
        with pytest.raises(ZeroDivisionError), netns.entered(other):
            _ = 1 / 0
        assert netns.inode(None) == netns.inode(one)
    assert (netns.inode(None), netns.here()) == (home, None)


def test_who_could_not_get_in_is_where_he_was(places: tuple[Path, Path]) -> None:
    with netns.entered(places[0]):
        with pytest.raises(netns.NetnsGone), netns.entered(Path("/run/netns/astara-nowhere")):
            pass
        assert netns.here() == places[0]
        assert netns.inode(None) == netns.inode(places[0])


def test_links_looked_at_once_are_those_of_the_namespace_one_is_in(places: tuple[Path, Path]) -> None:
    one, other = places
    with netns.entered(one):
        ip("link", "add", "only", "type", "bridge")
    with rtnetlink.one_look():
        names = [{link.name for link in _seen(place)} for place in (one, other, one)]
    assert names == [{"lo", "only"}, {"lo"}, {"lo", "only"}]


@pytest.mark.parametrize("value", ["0", "1"])
def test_the_listing_of_links_says_what_the_files_say(places: tuple[Path, Path], value: str) -> None:
    """Places in the kernel's arrays are numbers: a wrong one would compare another setting, and mend the wrong one."""
    paths = [
        f"{family}/conf/{link}/{key}"
        for family, (_, _, keys) in devconf._FAMILIES.items()
        for link in ("lo", "wide", "narrow")
        for key in keys
    ]
    with netns.entered(places[0]):
        ip("link", "add", "wide", "type", "bridge")
        ip("link", "add", "narrow", "type", "bridge")
        ip("link", "set", "narrow", "mtu", "1000")  # too little for IPv6 (RFC 8200 section 5): it has no settings
        for number, path in enumerate(paths):
            if sysctl.read(path) is not None:
                _write(path, str((number + int(value)) % 2))  # neighbours in the array differ
        with Netlink() as kernel:
            links = rtnetlink.links(kernel)
        told = {path: LinkSettings(links, _nobody).read(path) for path in paths}
        assert told == {path: sysctl.read(path) for path in paths}
    assert told["ipv6/conf/narrow/accept_ra"] is None


def test_what_no_listing_has_is_read_elsewhere() -> None:
    asked = LinkSettings((), lambda path: f"<{path}>")
    for path in ("ipv4/ip_forward", "ipv6/neigh/eth0/proxy_delay", "ipv4/conf/gone/rp_filter", "netfilter/x"):
        assert asked.read(path) == f"<{path}>"


def _seen(place: Path) -> list[rtnetlink.Link]:
    with netns.entered(place), Netlink() as kernel:
        return rtnetlink.seen_links(kernel)


def _write(path: str, value: str) -> None:
    with sysctl.Settings() as settings:
        settings.write(path, value)


def _nobody(path: str) -> str | None:
    raise AssertionError(path)
