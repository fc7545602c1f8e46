"""Elements survive the way to bytes and back, whatever the types of the set's fields."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astara.appliance.subsystems.nftables.codec import UnknownType, decode, encode, speaks
from astara.appliance.system.nfnetlink import RawElement, SetShape

IPV4, IPV6, PROTOCOL, SERVICE, MARK, IFNAME = 7, 8, 12, 13, 19, 41
_SINGLE = {
    IPV4: st.ip_addresses(v=4).map(str),
    IPV6: st.ip_addresses(v=6).map(str),
    PROTOCOL: st.integers(0, 255).map(str),
    SERVICE: st.integers(0, 65535).map(str),
    MARK: st.integers(0, 2**32 - 1).map(str),
    IFNAME: st.from_regex(r"[a-z][a-z0-9]{0,14}", fullmatch=True).map(lambda name: f'"{name}"'),
}
_PREFIX = {
    IPV4: st.builds(
        lambda ip, n: str(ipaddress.ip_network((ip, n), strict=False)), st.ip_addresses(v=4), st.integers(0, 31)
    ),
    IPV6: st.builds(
        lambda ip, n: str(ipaddress.ip_network((ip, n), strict=False)), st.ip_addresses(v=6), st.integers(0, 127)
    ),
    SERVICE: st.tuples(st.integers(0, 65534), st.integers(1, 65535))
    .filter(lambda pair: pair[0] < pair[1])
    .map(lambda pair: f"{pair[0]}-{pair[1]}"),
}


@st.composite
def members(draw: st.DrawFn) -> tuple[SetShape, tuple[tuple[str, ...], tuple[str, ...]]]:
    key = draw(st.lists(st.sampled_from(sorted(_SINGLE)), min_size=1, max_size=4))
    value = draw(st.lists(st.sampled_from(sorted(_SINGLE)), max_size=2))
    ranges = len(key) > 1 and draw(st.booleans())
    fields = [
        draw(_PREFIX[kind] if ranges and kind in _PREFIX and draw(st.booleans()) else _SINGLE[kind]) for kind in key
    ]
    values = tuple(draw(_SINGLE[kind]) for kind in value)
    return SetShape("s", tuple(key), tuple(value), ranges, anonymous=False), (tuple(fields), values)


@given(members())
def test_round_trip(member: tuple[SetShape, tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
    shape, pair = member
    assert decode(encode(pair, shape), shape) == pair


def test_the_bytes_are_the_kernels() -> None:
    """As `nft --debug=netlink add element` shows them: fields padded to four bytes, ports in network order."""
    shape = SetShape("forward_span", (IPV4, PROTOCOL, SERVICE), (IPV4,), ranges=True, anonymous=False)
    raw = encode((("203.0.113.9", "6", "80-90"), ("10.0.0.5",)), shape)
    assert raw == RawElement(
        bytes.fromhex("cb007109 06000000 00500000"),
        bytes.fromhex("cb007109 06000000 005a0000"),
        bytes.fromhex("0a000005"),
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [(("10.0.0.1",), ("x",)), (("fd00::1", "80"), ()), (("10.0.0.1", "70000"), ()), (("10.0.0.0/24", "80"), ())],
)
def test_what_does_not_fit_the_set_is_refused_without_its_value(key: tuple[str, ...], value: tuple[str, ...]) -> None:
    shape = SetShape("s", (IPV4, SERVICE), (), ranges=False, anonymous=False)
    with pytest.raises(UnknownType) as refused:
        encode((key, value), shape)
    assert "10.0.0" not in str(refused.value)


def test_sets_it_does_not_speak_are_said_so() -> None:
    assert not speaks(SetShape("s", (26,), (), ranges=False, anonymous=False))
    assert not speaks(SetShape("s", (IPV6,), (), ranges=True, anonymous=False))
    assert speaks(SetShape("s", (IFNAME, IPV6), (), ranges=True, anonymous=False))
