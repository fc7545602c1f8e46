"""Elements survive the way to bytes and back, whatever the types of the set's fields."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astara.appliance.subsystems.nftables.codec import UnknownLink, UnknownType, encode, speaks, words
from astara.appliance.subsystems.nftables.config import Atom, Element, LinkOf, Span
from astara.appliance.system.nfnetlink import RawElement, SetShape

IPV4, IPV6, PROTOCOL, SERVICE, MARK, IFNAME = 7, 8, 12, 13, 19, 41
LINKS = {f"fa:16:3e:00:00:0{number}": f"ap{number}" for number in range(8)}
_SINGLE: dict[int, st.SearchStrategy[Atom]] = {
    IPV4: st.ip_addresses(v=4),
    IPV6: st.ip_addresses(v=6),
    PROTOCOL: st.integers(0, 255),
    SERVICE: st.integers(0, 65535),
    MARK: st.integers(0, 2**32 - 1),
    IFNAME: st.sampled_from(sorted(LINKS)).map(LinkOf),
}
_RANGE: dict[int, st.SearchStrategy[Atom]] = {
    IPV4: st.builds(lambda ip, n: ip_network((ip, n), strict=False), st.ip_addresses(v=4), st.integers(0, 31)),
    IPV6: st.builds(lambda ip, n: ip_network((ip, n), strict=False), st.ip_addresses(v=6), st.integers(0, 127)),
    SERVICE: st.tuples(st.integers(0, 65534), st.integers(1, 65535))
    .filter(lambda pair: pair[0] < pair[1])
    .map(lambda pair: Span(*pair)),
}


@st.composite
def members(draw: st.DrawFn) -> tuple[SetShape, Element]:
    key = draw(st.lists(st.sampled_from(sorted(_SINGLE)), min_size=1, max_size=4))
    value = draw(st.lists(st.sampled_from(sorted(_SINGLE)), max_size=2))
    ranges = (len(key) > 1 or key[0] in (IPV4, IPV6)) and draw(st.booleans())
    fields = [
        draw(_RANGE[kind] if ranges and kind in _RANGE and draw(st.booleans()) else _SINGLE[kind]) for kind in key
    ]
    element = Element(tuple(fields), tuple(draw(_SINGLE[kind]) for kind in value))
    return SetShape("s", tuple(key), tuple(value), ranges, anonymous=False), element


def spelled(atom: Atom) -> str:
    if isinstance(atom, LinkOf):
        return f'"{LINKS[atom.mac]}"'
    return f"{atom.first}-{atom.last}" if isinstance(atom, Span) else str(atom)


@given(members())
def test_round_trip(member: tuple[SetShape, Element]) -> None:
    shape, element = member
    sides = [" . ".join(map(spelled, atoms)) for atoms in (element.key, element.value) if atoms]
    assert words(encode(element, shape, LINKS), shape) == " : ".join(sides)


def test_the_bytes_are_the_kernels() -> None:
    """As `nft --debug=netlink add element` shows them: fields padded to four bytes, ports in network order."""
    shape = SetShape("forward_span", (IPV4, PROTOCOL, SERVICE), (IPV4,), ranges=True, anonymous=False)
    raw = encode(Element((IPv4Address("203.0.113.9"), 6, Span(80, 90)), (IPv4Address("10.0.0.5"),)), shape, {})
    assert raw == RawElement(
        bytes.fromhex("cb007109 06000000 00500000"),
        bytes.fromhex("cb007109 06000000 005a0000"),
        bytes.fromhex("0a000005"),
    )


_HERE = IPv4Address("10.0.0.1")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ((_HERE,), (1,)),
        ((IPv6Network("fd00::1"), 80), ()),
        ((_HERE, 70000), ()),
        ((IPv4Network("10.0.0.0/24"), 80), ()),
        ((_HERE, _HERE), ()),
        ((LinkOf(min(LINKS)), 80), ()),
    ],
)
def test_what_does_not_fit_the_set_is_refused_without_its_value(key: tuple[Atom, ...], value: tuple[Atom, ...]) -> None:
    shape = SetShape("s", (IPV4, SERVICE), (), ranges=False, anonymous=False)
    with pytest.raises(UnknownType) as refused:
        encode(Element(key, value), shape, LINKS)
    assert "10.0.0" not in str(refused.value)


def test_a_link_that_is_not_there_is_named() -> None:
    with pytest.raises(UnknownLink, match="fa:16:3e:00:00:09"):
        encode(
            Element((LinkOf("fa:16:3e:00:00:09"),)), SetShape("s", (IFNAME,), (), ranges=False, anonymous=False), LINKS
        )


def test_sets_it_does_not_speak_are_said_so() -> None:
    assert not speaks(SetShape("s", (26,), (), ranges=False, anonymous=False))
    assert not speaks(SetShape("s", (MARK,), (), ranges=True, anonymous=False))
    assert speaks(SetShape("s", (IPV6,), (), ranges=True, anonymous=False))
    assert speaks(SetShape("s", (IFNAME, IPV6), (), ranges=True, anonymous=False))
