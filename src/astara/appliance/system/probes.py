"""Frames that ask who has an address, and what an answer looks like: ARP and neighbour discovery. Pure.

The question is asked under a MAC address of our own, and with no address that somebody else has: by an ARP probe (RFC
5227 2.1.1: no sender address), and by a neighbour solicitation from the link-local address of that MAC (RFC 4291 A).
Besides, a frame that only says that its sender is there.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

ARP, RARP, IPV6 = 0x0806, 0x8035, 0x86DD
_BROADCAST = b"\xff" * 6
_REQUEST, _REPLY, _REVERSE = 1, 2, 3
_ARP_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_ICMPV6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136
_HOPS = 255  # RFC 4861 7.1.2: it came from this link
_IPV6_HEADER = struct.Struct("!IHBB16s16s")
_ETHERNET = struct.Struct("!6s6sH")
_TARGET = _ETHERNET.size + _IPV6_HEADER.size + 8

#: Classic BPF (Linux Documentation/networking/filter): of all IPv6 frames of a link, neighbour advertisements alone.
ADVERTISEMENTS = (
    (0x30, 0, 0, 20),  # next header
    (0x15, 0, 3, _ICMPV6),
    (0x30, 0, 0, 54),  # ICMPv6 type
    (0x15, 0, 1, _ADVERTISEMENT),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)


def protocol(address: Address) -> int:
    """Return the EtherType in which is asked for it."""
    return ARP if isinstance(address, IPv4Address) else IPV6


def question(address: Address, source: bytes) -> bytes:
    """Return the frame that asks for `address` under the MAC address `source`."""
    if isinstance(address, IPv6Address):
        return _solicitation(address, source)
    head = (_BROADCAST, source, ARP, 1, 0x0800, 6, 4, _REQUEST)
    return _ARP_FRAME.pack(*head, source, bytes(4), bytes(6), address.packed)


def presence(to: bytes, source: bytes) -> bytes:
    """Return a reverse ARP request (RFC 903) that is no broadcast: it is for the MAC address `to` alone."""
    return _ARP_FRAME.pack(to, source, RARP, 1, 0x0800, 6, 4, _REVERSE, source, bytes(4), source, bytes(4))


def answer(frame: bytes) -> tuple[bytes, Address] | None:
    """Return whom a frame answers (MAC address) and who says to be there; None when it is no answer."""
    if len(frame) < _ETHERNET.size:
        return None
    to, _, kind = _ETHERNET.unpack_from(frame)
    if kind == ARP and len(frame) >= _ARP_FRAME.size:
        operation, sender = _ARP_FRAME.unpack_from(frame)[7], _ARP_FRAME.unpack_from(frame)[9]
        return (to, IPv4Address(sender)) if operation == _REPLY else None
    if kind != IPV6 or len(frame) < _TARGET + 16:
        return None
    _, _, following, hops, _, _ = _IPV6_HEADER.unpack_from(frame, _ETHERNET.size)
    if (following, hops, frame[_TARGET - 8]) != (_ICMPV6, _HOPS, _ADVERTISEMENT):
        return None
    return to, IPv6Address(frame[_TARGET : _TARGET + 16])


def _solicitation(address: IPv6Address, source: bytes) -> bytes:
    """RFC 4861 4.3, to the solicited-node address (RFC 4291 2.7.1)."""
    own = bytes((0xFE, 0x80, *bytes(6), source[0] ^ 2, *source[1:3], 0xFF, 0xFE, *source[3:]))
    group = bytes.fromhex("ff0200000000000000000001ff") + address.packed[13:]
    body = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + address.packed + struct.pack("!BB", 1, 1) + source
    pseudo = own + group + struct.pack("!II", len(body), _ICMPV6)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    header = _IPV6_HEADER.pack(6 << 28, len(body), _ICMPV6, _HOPS, own, group)
    return _ETHERNET.pack(b"\x33\x33" + group[12:], source, IPV6) + header + body


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
