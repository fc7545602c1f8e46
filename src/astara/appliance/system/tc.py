"""Queueing disciplines, classes and filters over rtnetlink: the few kinds this project uses (tc-htb(8), tc-u32(8)).

Formats: include/uapi/linux/pkt_sched.h and pkt_cls.h. Rates are bytes per second, bursts bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from astara.appliance.system import netlink
from astara.appliance.system.netlink import Netlink, Request

#: The handle of our root disciplines: how we know our own.
MAJOR = 0xA57A
ROOT = 0xFFFFFFFF
INGRESS_PARENT = 0xFFFFFFF1
INGRESS_HANDLE = 0xFFFF0000
#: Priority of a redirect: what shall pass it has a lower number.
REDIRECTED = 9

_NEWQDISC, _DELQDISC, _GETQDISC = 36, 37, 38
_NEWCLASS, _DELCLASS, _GETCLASS = 40, 41, 42
_NEWFILTER, _DELFILTER, _GETFILTER = 44, 45, 46
_KIND, _OPTIONS = 1, 2
_HTB_PARMS, _HTB_INIT, _HTB_RATE64, _HTB_CEIL64 = 1, 2, 6, 7
_U32_CLASSID, _U32_SEL, _U32_ACT = 1, 5, 7
_MIRRED_PARMS = 2
_STOLEN, _REDIRECT_TO_EGRESS = 4, 1
_IP, _ALL = 0x0800, 0x0003
_HEADER = struct.Struct("=BxxxiIII")
_GLOBAL = struct.Struct("=IIIII")
_RATE = struct.Struct("=BBHhHI")
_BUFFERS = struct.Struct("=IIIII")
_SELECTOR = struct.Struct("=BBBx2sHhhI")
_MATCH = struct.Struct("=4s4sii")
_MIRRED = struct.Struct("=IIiiiiI")
_ETHERNET = 1  # a link layer the kernel computes times for itself, without a rate table from us
_TERMINAL = 1
_MAX_RATE = 0xFFFFFFFF
_TICK_SHIFT = 6  # a scheduler tick is 64 ns
_MIN_QUANTUM, _MAX_QUANTUM = 1514, 60000


@dataclass(frozen=True, slots=True)
class Limit:
    """`ticks`: the burst as the kernel keeps it, in scheduler ticks at this rate."""

    rate: int
    ticks: int


@dataclass(frozen=True, slots=True)
class Match:
    """IPv4 packets whose 32 bits at `offset` of the header (12: source, 16: destination) are `address`."""

    offset: int
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class Discipline:
    """`default`: HTB's default class, 0 for none."""

    index: int
    kind: str
    handle: int
    parent: int
    default: int


@dataclass(frozen=True, slots=True)
class Filter:
    """`redirect`: index of the link packets are sent to, 0 for none."""

    priority: int
    classid: int
    match: Match | None
    redirect: int


@dataclass(frozen=True, slots=True)
class Word:
    """32 bits of a packet, `offset` bytes behind the beginning of its network header: `value` where `mask` is set."""

    offset: int
    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class Pass:
    """What comes in of an ethertype (`protocol`) with all of `words` goes on as if there were no later filter."""

    priority: int
    protocol: int
    words: tuple[Word, ...]


def limit(rate: int, burst: int) -> Limit:
    """Return the kernel's form of `burst` bytes at `rate` bytes per second."""
    nanoseconds = burst * 1_000_000_000 // rate
    return Limit(rate, min(nanoseconds >> _TICK_SHIFT, 0xFFFFFFFF))


def disciplines(kernel: Netlink) -> list[Discipline]:
    """Return all queueing disciplines of the namespace. Raises NetlinkError."""
    found = []
    for answer in kernel.dump(_GETQDISC, _HEADER.pack(0, 0, 0, 0, 0)):
        _, index, handle, parent, _ = _HEADER.unpack_from(answer)
        said = netlink.attributes(answer, 20)
        kind = _word(said[_KIND])
        options = netlink.attributes(said.get(_OPTIONS, b"")) if kind == "htb" else {}
        default = _GLOBAL.unpack(options[_HTB_INIT])[2] if _HTB_INIT in options else 0
        found.append(Discipline(index, kind, handle, parent, default))
    return found


def classes(kernel: Netlink, index: int) -> dict[int, Limit]:
    """Return class id -> limit of the HTB tree on a link. Raises NetlinkError."""
    found = {}
    for answer in kernel.dump(_GETCLASS, _HEADER.pack(0, index, 0, 0, 0)):
        handle = _HEADER.unpack_from(answer)[2]
        options = netlink.attributes(netlink.attributes(answer, 20).get(_OPTIONS, b""))
        if _HTB_PARMS in options:
            found[handle] = _limit_of(options)
    return found


def filters(kernel: Netlink, index: int, parent: int) -> list[Filter]:
    """Return the u32 filters at `parent` of a link, without the kernel's own table entries. Raises NetlinkError."""
    found = []
    for answer in kernel.dump(_GETFILTER, _HEADER.pack(0, index, 0, parent, 0)):
        info = _HEADER.unpack_from(answer)[4]
        options = netlink.attributes(netlink.attributes(answer, 20).get(_OPTIONS, b""))
        if _U32_SEL in options:
            found.append(_filter_of(info >> 16, options))
    return found


def add_htb(index: int, default: int) -> Request:
    options = netlink.nested(_OPTIONS, netlink.attribute(_HTB_INIT, _GLOBAL.pack(3, 10, default, 0, 0)))
    body = _HEADER.pack(0, index, MAJOR << 16, ROOT, 0) + netlink.text(_KIND, "htb") + options
    return Request(_NEWQDISC, netlink.CREATE | netlink.REPLACE, body)


def add_ingress(index: int) -> Request:
    body = _HEADER.pack(0, index, INGRESS_HANDLE, INGRESS_PARENT, 0) + netlink.text(_KIND, "ingress")
    return Request(_NEWQDISC, netlink.CREATE | netlink.EXCLUSIVE, body)


def delete_discipline(index: int, handle: int, parent: int) -> Request:
    return Request(_DELQDISC, 0, _HEADER.pack(0, index, handle, parent, 0))


def set_class(index: int, classid: int, wanted: Limit) -> Request:
    """Return the request that adds or changes a class of our tree."""
    rate = _RATE.pack(0, _ETHERNET, 0, -1, 0, min(wanted.rate, _MAX_RATE))
    quantum = max(_MIN_QUANTUM, min(wanted.rate // 10, _MAX_QUANTUM))
    parameters = netlink.attribute(_HTB_PARMS, rate + rate + _BUFFERS.pack(wanted.ticks, wanted.ticks, quantum, 0, 0))
    if wanted.rate > _MAX_RATE:
        wide = struct.pack("=Q", wanted.rate)
        parameters += netlink.attribute(_HTB_RATE64, wide) + netlink.attribute(_HTB_CEIL64, wide)
    body = _HEADER.pack(0, index, classid, MAJOR << 16, 0) + netlink.text(_KIND, "htb")
    return Request(_NEWCLASS, netlink.CREATE, body + netlink.nested(_OPTIONS, parameters))


def delete_class(index: int, classid: int) -> Request:
    return Request(_DELCLASS, 0, _HEADER.pack(0, index, classid, MAJOR << 16, 0))


def add_classifier(index: int, priority: int, match: Match, classid: int) -> Request:
    """Return the request that sends packets that match into a class of our tree."""
    selector = _SELECTOR.pack(_TERMINAL, 0, 1, bytes(2), 0, 0, 0, 0)
    selector += _MATCH.pack(b"\xff" * 4, match.address.packed, match.offset, 0)
    options = netlink.nested(_OPTIONS, netlink.u32(_U32_CLASSID, classid), netlink.attribute(_U32_SEL, selector))
    body = _HEADER.pack(0, index, 0, MAJOR << 16, _info(priority, _IP)) + netlink.text(_KIND, "u32") + options
    return Request(_NEWFILTER, netlink.CREATE | netlink.EXCLUSIVE, body)


def add_redirect(index: int, target: int) -> Request:
    """Return the request that sends everything that comes in to the other end of link `target` first."""
    selector = _SELECTOR.pack(_TERMINAL, 0, 1, bytes(2), 0, 0, 0, 0) + _MATCH.pack(bytes(4), bytes(4), 0, 0)
    mirred = _MIRRED.pack(0, 0, _STOLEN, 0, 0, _REDIRECT_TO_EGRESS, target)
    action = netlink.nested(
        1,
        netlink.text(1, "mirred"),
        netlink.nested(2, netlink.attribute(_MIRRED_PARMS, mirred)),
    )
    options = netlink.nested(_OPTIONS, netlink.attribute(_U32_SEL, selector), netlink.nested(_U32_ACT, action))
    body = _HEADER.pack(0, index, 0, INGRESS_HANDLE, _info(REDIRECTED, _ALL)) + netlink.text(_KIND, "u32") + options
    return Request(_NEWFILTER, netlink.CREATE | netlink.EXCLUSIVE, body)


def add_pass(index: int, wanted: Pass) -> Request:
    """Return the request that spares packets what filters of a higher priority number do with them."""
    selector = _SELECTOR.pack(_TERMINAL, 0, len(wanted.words), bytes(2), 0, 0, 0, 0)
    for word in wanted.words:
        selector += _MATCH.pack(word.mask.to_bytes(4, "big"), word.value.to_bytes(4, "big"), word.offset, 0)
    # A class nobody looks at: the kernel wants one of a filter that ends the search.
    options = netlink.nested(_OPTIONS, netlink.u32(_U32_CLASSID, 1), netlink.attribute(_U32_SEL, selector))
    info = _info(wanted.priority, wanted.protocol)
    body = _HEADER.pack(0, index, 0, INGRESS_HANDLE, info) + netlink.text(_KIND, "u32") + options
    return Request(_NEWFILTER, netlink.CREATE | netlink.EXCLUSIVE, body)


def delete_ingress_filters(index: int, wanted: Pass) -> Request:
    """Return the request that takes away all of that priority and protocol."""
    info = _info(wanted.priority, wanted.protocol)
    return Request(_DELFILTER, 0, _HEADER.pack(0, index, 0, INGRESS_HANDLE, info))


def passes(kernel: Netlink, index: int) -> frozenset[Pass]:
    """Return what `add_pass` made on a link. Raises NetlinkError."""
    found = set()
    for answer in kernel.dump(_GETFILTER, _HEADER.pack(0, index, 0, INGRESS_HANDLE, 0)):
        info = _HEADER.unpack_from(answer)[4]
        options = netlink.attributes(netlink.attributes(answer, 20).get(_OPTIONS, b""))
        if _U32_SEL in options and not _redirect_of(options.get(_U32_ACT, b"")):
            protocol = int.from_bytes((info & 0xFFFF).to_bytes(2, "little"), "big")
            found.add(Pass(info >> 16, protocol, _words_of(options[_U32_SEL])))
    return frozenset(found)


def delete_classifier(index: int, priority: int) -> Request:
    return Request(_DELFILTER, 0, _HEADER.pack(0, index, 0, MAJOR << 16, _info(priority, _IP)))


def _info(priority: int, protocol: int) -> int:
    return priority << 16 | int.from_bytes(protocol.to_bytes(2, "big"), "little")


def _limit_of(options: dict[int, bytes]) -> Limit:
    parameters = options[_HTB_PARMS]
    rate = _RATE.unpack_from(parameters)[5]
    if _HTB_RATE64 in options:
        rate = struct.unpack("=Q", options[_HTB_RATE64])[0]
    return Limit(rate, _BUFFERS.unpack_from(parameters, 2 * _RATE.size)[0])


def _filter_of(priority: int, options: dict[int, bytes]) -> Filter:
    mask, value, offset, _ = _MATCH.unpack_from(options[_U32_SEL], _SELECTOR.size)
    classid = struct.unpack("=I", options[_U32_CLASSID])[0] if _U32_CLASSID in options else 0
    match = Match(offset, IPv4Address(value)) if mask == b"\xff" * 4 else None
    return Filter(priority, classid, match, _redirect_of(options.get(_U32_ACT, b"")))


def _words_of(selector: bytes) -> tuple[Word, ...]:
    count = _SELECTOR.unpack_from(selector)[2]
    raw = (_MATCH.unpack_from(selector, _SELECTOR.size + number * _MATCH.size) for number in range(count))
    return tuple(
        Word(offset, int.from_bytes(mask, "big"), int.from_bytes(value, "big")) for mask, value, offset, _ in raw
    )


def _redirect_of(actions: bytes) -> int:
    for _, action in netlink.attribute_list(actions):
        options = netlink.attributes(netlink.attributes(action).get(2, b""))
        if _MIRRED_PARMS in options:
            return int(_MIRRED.unpack_from(options[_MIRRED_PARMS])[6])
    return 0


def _word(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode(errors="replace")
