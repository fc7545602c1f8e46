"""Questions that move no neighbour's cache, and what counts as an answer."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest

from astara.appliance.system import probes

OWN = bytes.fromhex("fa163e000101")
THERE = bytes.fromhex("fa163e0000aa")
V4, V6 = IPv4Address("192.0.2.9"), IPv6Address("2001:db8::9:8765")


def solicitation() -> bytes:
    return probes.question(V6, OWN)


def advertisement(target: IPv6Address = V6, hops: int = 255, kind: int = 136) -> bytes:
    body = struct.pack("!BBHI", kind, 0, 0, 0x60000000) + target.packed + b"\x02\x01" + THERE
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, hops) + target.packed + bytes(16)
    return OWN + THERE + b"\x86\xdd" + header + body


def test_an_arp_probe_names_no_sender() -> None:
    frame = probes.question(V4, OWN)
    assert frame[:14] == b"\xff" * 6 + OWN + b"\x08\x06"
    assert frame[22:28] == OWN
    assert frame[28:32] == bytes(4)  # RFC 5227 2.1.1
    assert frame[38:42] == V4.packed


def test_a_solicitation_goes_to_those_who_may_have_the_address_from_one_nobody_else_has() -> None:
    frame = solicitation()
    assert frame[:14] == bytes.fromhex("3333ff098765") + OWN + b"\x86\xdd"
    assert frame[21] == 255
    assert IPv6Address(frame[22:38]) == IPv6Address("fe80::f816:3eff:fe00:101")
    assert IPv6Address(frame[38:54]) == IPv6Address("ff02::1:ff09:8765")
    assert (frame[54], frame[62:78]) == (135, V6.packed)
    assert frame[78:] == b"\x01\x01" + OWN


def test_the_checksum_of_a_solicitation_is_right() -> None:
    """RFC 4443 2.3: with it the sum over pseudo-header and message is all ones."""
    frame = solicitation()
    data = frame[22:54] + struct.pack("!II", 32, 58) + frame[54:]
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


def test_an_answer_tells_whom_it_is_for_and_who_is_there() -> None:
    arp = OWN + THERE + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + THERE + V4.packed + OWN + bytes(4)
    assert probes.answer(arp) == (OWN, V4)
    assert probes.answer(advertisement()) == (OWN, V6)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        advertisement()[:60],
        advertisement(hops=64),  # it came over a router
        advertisement(kind=135),
        probes.question(V4, OWN),
        solicitation(),
    ],
)
def test_anything_else_is_no_answer(frame: bytes) -> None:
    assert probes.answer(frame) is None


def test_who_says_to_be_there_says_it_to_one_link_alone() -> None:
    frame = probes.presence(THERE, OWN)
    assert frame[:14] == THERE + OWN + b"\x80\x35"
    assert frame[14:22] == bytes.fromhex("0001080006040003")  # RFC 903: a request
    assert probes.answer(frame) is None
