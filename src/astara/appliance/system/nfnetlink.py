"""nf_tables over netlink: what is in a table, and transactions (include/uapi/linux/netfilter/nf_tables.h).

Everything that happens often goes this way; libnftables (system/nft) only turns the text of a structure into
objects. It is not made for threads, reads a whole table in 2 ms, and aborts the process when its socket's
descriptor is above 1023, as it is on a node with a thousand instances.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from astara.appliance.system import netlink
from astara.appliance.system.netlink import Netlink, NetlinkError, Request

_SUBSYSTEM = 10 << 8
_NEWTABLE, _DELTABLE = _SUBSYSTEM | 0, _SUBSYSTEM | 2
_NEWCHAIN, _GETCHAIN = _SUBSYSTEM | 3, _SUBSYSTEM | 4
_NEWRULE, _GETRULE = _SUBSYSTEM | 6, _SUBSYSTEM | 7
_NEWSET, _GETSET = _SUBSYSTEM | 9, _SUBSYSTEM | 10
_NEWELEMENT, _GETELEMENT, _DELELEMENT = _SUBSYSTEM | 12, _SUBSYSTEM | 13, _SUBSYSTEM | 14
_NEWOBJECT, _GETOBJECT = _SUBSYSTEM | 18, _SUBSYSTEM | 19
_BEGIN, _END = 16, 17
_INET, _NETDEV = 1, 5
_APPEND = 0x800
_HEADER = struct.pack("!BBH", _INET, 0, 0)
_BATCH = struct.pack("!BBH", 0, 0, 10)

_TABLE_NAME = 1  # also the table's name in chains, rules, sets, objects and element lists
_TABLE_FLAGS = 2
_CHAIN_NAME, _SET_NAME, _OBJECT_NAME, _RULE_CHAIN = 3, 2, 2, 2
_SET_FLAGS, _SET_KEY_TYPE, _SET_DATA_TYPE, _SET_ID, _SET_COUNT = 3, 4, 6, 10, 20
_ELEMENTS_SET, _ELEMENTS = 2, 3
_LIST_ELEMENT = 1
_KEY, _DATA, _ELEMENT_FLAGS, _KEY_END = 1, 2, 3, 10
_VALUE = 1
_ANONYMOUS, _INTERVAL, _MAP = 0x1, 0x4, 0x8
_RANGE_ENDED = struct.pack("!I", 1)  # NFT_SET_ELEM_INTERVAL_END
_NONE = netlink.attribute(_SET_COUNT, bytes(4))
#: What says what a thing is; the rest (handles, counters, use) is the kernel's bookkeeping.
_CHAIN_KEPT = (1, 3, 4, 5, 7, 10)
_RULE_KEPT = (1, 2, 4, 7)
_SET_KEPT = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 15)
_OBJECT_KEPT = (1, 2, 3, 4, 8)
_ELEMENT_KEPT = (_KEY, _DATA, _ELEMENT_FLAGS, _KEY_END)
_PER_MESSAGE = 400


@dataclass(frozen=True, slots=True)
class SetShape:
    """`key` and `value`: nftables' type numbers per field; `ranges`: every field of a key has a first and a last."""

    name: str
    key: tuple[int, ...]
    value: tuple[int, ...]
    ranges: bool
    anonymous: bool

    @property
    def bounds(self) -> bool:
        """Whether the kernel keeps a range as two elements, where it begins and where it has ended (nft_set_rbtree)."""
        return self.ranges and len(self.key) == 1


class RawElement(NamedTuple):
    """Bytes as the kernel keeps them: fields padded to four bytes. `last` is empty where keys are no ranges."""

    key: bytes
    last: bytes = b""
    value: bytes = b""


@dataclass(frozen=True, slots=True)
class Structure:
    """A table without the elements of its named sets: message bodies, and what is in anonymous sets."""

    chains: tuple[bytes, ...] = ()
    rules: tuple[bytes, ...] = ()
    sets: tuple[bytes, ...] = ()
    objects: tuple[bytes, ...] = ()
    anonymous: tuple[bytes, ...] = field(default=(), compare=False)  # element list messages
    #: Sets the kernel says are empty (Linux 6.16 and later say so); nobody needs to ask what is in them.
    empty: frozenset[str] = field(default=frozenset(), compare=False)


def read_structure(kernel: Netlink, table: str) -> Structure | None:
    """Return the structure of table `inet table`, None when there is none. Raises NetlinkError."""
    of_table = _HEADER + netlink.text(_TABLE_NAME, table)
    try:
        answers = kernel.dump(_GETSET, of_table)
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    name = netlink.text(_TABLE_NAME, table)
    chains = [body for body in kernel.dump(_GETCHAIN, _HEADER) if _attribute(body, _TABLE_NAME) == name]
    objects = kernel.dump(_GETOBJECT, of_table)
    rules = kernel.dump(_GETRULE, of_table)
    return Structure(
        chains=tuple(sorted(_kept(body, _CHAIN_KEPT) for body in chains)),
        rules=tuple(sorted((_kept(body, _RULE_KEPT) for body in rules), key=_chain_of)),  # in order within a chain
        sets=tuple(sorted(_kept(body, _SET_KEPT) for body in answers)),
        objects=tuple(sorted(_kept(body, _OBJECT_KEPT) for body in objects)),
        empty=frozenset(_name(body, _SET_NAME) for body in answers if _attribute(body, _SET_COUNT) == _NONE),
    )


def shapes(structure: Structure) -> list[SetShape]:
    """Return the shapes of all its sets."""
    return [_shape(body) for body in structure.sets]


def with_anonymous_elements(kernel: Netlink, table: str, structure: Structure) -> Structure:
    """Return the structure together with what is in its anonymous sets, which belongs to its rules."""
    messages = []
    for shape in shapes(structure):
        if shape.anonymous:
            messages += [_kept_elements(body) for body in kernel.dump(_GETELEMENT, _element_list(table, shape.name))]
    return replace(structure, anonymous=tuple(messages))


def read_elements(kernel: Netlink, table: str, shape: SetShape) -> list[RawElement]:
    """Return what is in a set or map. Raises NetlinkError."""
    found = []
    for body in kernel.dump(_GETELEMENT, _element_list(table, shape.name)):
        listed = netlink.attributes(body, 4).get(_ELEMENTS, b"")
        found += [_element(element) for _, element in netlink.attribute_list(listed)]
    return _ranges(found) if shape.bounds else [element for element, _ in found]


def inhabited(kernel: Netlink, table: str, name: str) -> bool | None:
    """Return whether a set of a netdev table has elements that have not timed out; None when it is not there."""
    body = struct.pack("!BBH", _NETDEV, 0, 0) + netlink.text(_TABLE_NAME, table) + netlink.text(_ELEMENTS_SET, name)
    try:
        messages = kernel.dump(_GETELEMENT, body)
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return any(netlink.attributes(message, 4).get(_ELEMENTS) for message in messages)


def describe(found: Structure, wanted: Structure) -> list[str]:
    """Say what differs between two structures, by name."""
    if found == wanted:
        return []
    lines = []
    for kind, which, there, should in (
        ("chain", _CHAIN_NAME, found.chains, wanted.chains),
        ("set", _SET_NAME, found.sets, wanted.sets),
        ("object", _OBJECT_NAME, found.objects, wanted.objects),
    ):
        differing = {_name(body, which) for body in set(there) ^ set(should)}
        lines += [f"{kind} {name} differs" for name in sorted(differing)]
    chains = {_name(body, _RULE_CHAIN) for body in set(found.rules) ^ set(wanted.rules)}
    lines += [f"rules of chain {name} differ" for name in sorted(chains)]
    return lines or ["rules are in another order"]


def replace_table(table: str, structure: Structure) -> list[Request]:
    """Return the requests that put `structure` in the place of whatever table of that name there is."""
    named = _HEADER + netlink.text(_TABLE_NAME, table)
    create = named + netlink.attribute(_TABLE_FLAGS, bytes(4))
    requests = [
        Request(_NEWTABLE, netlink.CREATE, create),
        Request(_DELTABLE, 0, named),
        Request(_NEWTABLE, netlink.CREATE, create),
    ]
    for number, body in enumerate(structure.sets, 1):
        identified = body + netlink.attribute(_SET_ID, struct.pack("!I", number))
        requests.append(Request(_NEWSET, netlink.CREATE, identified))
    requests += [Request(_NEWOBJECT, netlink.CREATE, body) for body in structure.objects]
    requests += [Request(_NEWCHAIN, netlink.CREATE, body) for body in structure.chains]
    requests += [Request(_NEWELEMENT, netlink.CREATE, body) for body in structure.anonymous]
    requests += [Request(_NEWRULE, netlink.CREATE | _APPEND, body) for body in structure.rules]
    return requests


def delete_table(table: str) -> list[Request]:
    """Return the requests that take a table away whether it is there or not."""
    named = _HEADER + netlink.text(_TABLE_NAME, table)
    return [
        Request(_NEWTABLE, netlink.CREATE, named + netlink.attribute(_TABLE_FLAGS, bytes(4))),
        Request(_DELTABLE, 0, named),
    ]


def add_elements(table: str, shape: SetShape, elements: Sequence[RawElement]) -> list[Request]:
    """Return the requests; `elements` in ascending order."""
    return [Request(_NEWELEMENT, netlink.CREATE, body) for body in _element_messages(table, shape, elements)]


def delete_elements(table: str, shape: SetShape, elements: Sequence[RawElement]) -> list[Request]:
    """Return the requests; `elements` in ascending order."""
    return [Request(_DELELEMENT, 0, body) for body in _element_messages(table, shape, elements)]


def flush_set(table: str, name: str) -> Request:
    return Request(_DELELEMENT, 0, _element_list(table, name))


def transact(kernel: Netlink, requests: Sequence[Request]) -> None:
    """Carry out all requests or none. Raises NetlinkError with the kernel's first complaint."""
    if requests:
        kernel.transaction(Request(_BEGIN, 0, _BATCH), requests, Request(_END, 0, _BATCH))


def _element_messages(table: str, shape: SetShape, elements: Sequence[RawElement]) -> Iterator[bytes]:
    pack = _bounds if shape.bounds else _packed
    for start in range(0, len(elements), _PER_MESSAGE):
        listed = b"".join(pack(element) for element in elements[start : start + _PER_MESSAGE])
        yield _element_list(table, shape.name) + netlink.nested(_ELEMENTS, listed)


def _packed(element: RawElement) -> bytes:
    parts = [netlink.nested(_KEY, netlink.attribute(_VALUE, element.key))]
    if element.last:
        parts.append(netlink.nested(_KEY_END, netlink.attribute(_VALUE, element.last)))
    if element.value:
        parts.append(netlink.nested(_DATA, netlink.attribute(_VALUE, element.value)))
    return netlink.nested(_LIST_ELEMENT, *parts)


def _bounds(element: RawElement) -> bytes:
    """Return where the range begins, and the first key behind it, unless there is none."""
    begins = _packed(element._replace(last=b""))
    behind = int.from_bytes(element.last, "big") + 1
    if behind >> 8 * len(element.last):
        return begins
    key = netlink.nested(_KEY, netlink.attribute(_VALUE, behind.to_bytes(len(element.last), "big")))
    return begins + netlink.nested(_LIST_ELEMENT, netlink.attribute(_ELEMENT_FLAGS, _RANGE_ENDED), key)


def _ranges(bounds: Sequence[tuple[RawElement, bool]]) -> list[RawElement]:
    """Put together what `_bounds` took apart; the kernel lists bounds in no order one may rely on."""
    found: list[RawElement] = []
    opened: RawElement | None = None
    for bound, ended in sorted(bounds, key=lambda one: (one[0].key, not one[1])):
        if opened is not None:
            last = int.from_bytes(bound.key, "big") - 1
            found.append(opened._replace(last=last.to_bytes(len(bound.key), "big")))
        opened = None if ended else bound
    if opened is not None:
        found.append(opened._replace(last=b"\xff" * len(opened.key)))
    return found


def _element_list(table: str, name: str) -> bytes:
    return _HEADER + netlink.text(_TABLE_NAME, table) + netlink.text(_ELEMENTS_SET, name)


@lru_cache(maxsize=1024)
def _kept(body: bytes, kinds: tuple[int, ...]) -> bytes:
    """Return the message with only these attributes, whose nesting is kept as it came.

    Remembered: tables of one structure consist of the same messages, but for counters of use.
    """
    found = netlink.raw_attributes(body, 4)
    return _HEADER + b"".join([raw for kind, raw in found.items() if kind in kinds])


def _kept_elements(body: bytes) -> bytes:
    said = netlink.attributes(body, 4)
    listed = b"".join(
        netlink.nested(
            _LIST_ELEMENT, *(raw for kind, raw in netlink.raw_attributes(element, 0).items() if kind in _ELEMENT_KEPT)
        )
        for _, element in netlink.attribute_list(said[_ELEMENTS])
    )
    return (
        _HEADER
        + netlink.attribute(_TABLE_NAME, said[_TABLE_NAME])
        + netlink.attribute(_ELEMENTS_SET, said[_ELEMENTS_SET])
        + netlink.nested(_ELEMENTS, listed)
    )


def _chain_of(rule: bytes) -> bytes:
    return _attribute(rule, _RULE_CHAIN)


@lru_cache(maxsize=1024)
def _attribute(body: bytes, which: int) -> bytes:
    """Return one attribute as it stands, b"" when it is absent."""
    return netlink.raw_attributes(body, 4).get(which, b"")


def _shape(body: bytes) -> SetShape:
    said = netlink.attributes(body, 4)
    flags = _number(said.get(_SET_FLAGS))
    return SetShape(
        name=_name(body, _SET_NAME),
        key=_fields(_number(said.get(_SET_KEY_TYPE))),
        value=_fields(_number(said.get(_SET_DATA_TYPE))) if flags & _MAP else (),
        ranges=bool(flags & _INTERVAL),
        anonymous=bool(flags & _ANONYMOUS),
    )


def _fields(kind: int) -> tuple[int, ...]:
    """A concatenation's type is its fields' numbers, six bits each."""
    fields: list[int] = []
    while kind:
        fields.insert(0, kind & 0x3F)
        kind >>= 6
    return tuple(fields)


@lru_cache(maxsize=1024)
def _name(body: bytes, which: int) -> str:
    return netlink.attributes(body, 4).get(which, b"?").rstrip(b"\0").decode(errors="replace")


def _number(payload: bytes | None) -> int:
    return int.from_bytes(payload or b"", "big")


@lru_cache(maxsize=1024)
def _element(body: bytes) -> tuple[RawElement, bool]:
    """Return an element, and whether it says that a range has ended.

    Remembered: what an apply finds before it is most of what it reads back.
    """
    said = netlink.attributes(body)
    found = RawElement(_data(said[_KEY]), _data(said.get(_KEY_END)), _data(said.get(_DATA)))
    return found, said.get(_ELEMENT_FLAGS) == _RANGE_ENDED


def _data(nested: bytes | None) -> bytes:
    return netlink.attributes(nested).get(_VALUE, b"") if nested is not None else b""
