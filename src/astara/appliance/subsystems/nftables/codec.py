"""Elements as the kernel keeps them, by the types of the set's fields, and in words. Pure.

Type numbers are nftables' own (its include/datatype.h). Fields of a concatenation are padded to four bytes.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from astara.appliance.subsystems.nftables.config import Atom, Element, LinkOf, Span
from astara.appliance.system.nfnetlink import RawElement, SetShape

_IPV4, _IPV6, _PROTOCOL, _SERVICE, _MARK, _IFNAME = 7, 8, 12, 13, 19, 41
_LENGTHS = {_IPV4: 4, _IPV6: 16, _PROTOCOL: 1, _SERVICE: 2, _MARK: 4, _IFNAME: 16}
_ADDRESSES = (_IPV4, _IPV6)
_NUMBERS = (_PROTOCOL, _SERVICE, _MARK)
_HOSTS = (IPv4Address, IPv6Address)
_PREFIXES = (IPv4Network, IPv6Network)
_KINDS_OF: Mapping[type[Atom], tuple[int, ...]] = {
    LinkOf: (_IFNAME,),
    IPv4Address: (_IPV4,),
    IPv4Network: (_IPV4,),
    IPv6Address: (_IPV6,),
    IPv6Network: (_IPV6,),
    int: _NUMBERS,
    Span: _NUMBERS,
}


class UnknownLink(LookupError):
    """An element names a link that is not plugged in."""


class UnknownType(ValueError):
    """A set of a type this agent does not speak, or an element that is no element of its set."""


def speaks(shape: SetShape) -> bool:
    """Whether elements of such a set can be written and read: known types, a range of one field only of addresses."""
    known = all(kind in _LENGTHS for kind in (*shape.key, *shape.value))
    return known and (not shape.bounds or shape.key[0] in _ADDRESSES)


def encode(element: Element, shape: SetShape, links: Mapping[str, str]) -> RawElement:
    """Return the bytes of one element; `links` is MAC -> name. Raises UnknownType, UnknownLink."""
    first, last = _fields(element.key, shape.key, shape, links)
    if not shape.ranges and first != last:
        raise UnknownType(f"{shape.name}: a range in a set without ranges")
    return RawElement(first, last if shape.ranges else b"", _fields(element.value, shape.value, shape, links)[0])


def words(raw: RawElement, shape: SetShape) -> str:
    """Return one element as nft writes it."""
    first = _split(raw.key, shape.key)
    last = _split(raw.last or raw.key, shape.key)
    key = " . ".join(_text(low, high, kind) for low, high, kind in zip(first, last, shape.key, strict=True))
    value = " . ".join(
        _text(part, part, kind) for part, kind in zip(_split(raw.value, shape.value), shape.value, strict=True)
    )
    return f"{key} : {value}" if value else key


def _fields(
    atoms: tuple[Atom, ...], kinds: tuple[int, ...], shape: SetShape, links: Mapping[str, str]
) -> tuple[bytes, bytes]:
    """Return the first and the last of what the atoms stand for."""
    if len(atoms) != len(kinds):
        raise UnknownType(f"{shape.name}: not {len(shape.key)} and {len(shape.value)} fields")
    try:
        bounds = [_bounds(atom, kind, links) for atom, kind in zip(atoms, kinds, strict=True)]
    except (ValueError, OverflowError):
        raise UnknownType(f"{shape.name}: a field does not fit its type") from None
    if len(bounds) == 1:
        return bounds[0]
    return b"".join([_padded(low) for low, _ in bounds]), b"".join([_padded(high) for _, high in bounds])


def _bounds(atom: Atom, kind: int, links: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Raises ValueError or OverflowError when the atom is not of that kind."""
    if kind not in _KINDS_OF[type(atom)]:
        raise ValueError("of another type")
    if isinstance(atom, _HOSTS):
        return atom.packed, atom.packed
    if isinstance(atom, LinkOf):
        name = _name(atom, links)
        return name, name
    if isinstance(atom, _PREFIXES):
        return atom.network_address.packed, atom.broadcast_address.packed
    return _numbers(atom, kind)


def _name(link: LinkOf, links: Mapping[str, str]) -> bytes:
    name = links.get(link.mac)
    if name is None:
        raise UnknownLink(link.mac)
    return name.encode().ljust(_LENGTHS[_IFNAME], b"\0")


def _numbers(atom: int | Span, kind: int) -> tuple[bytes, bytes]:
    first, last = (atom.first, atom.last) if isinstance(atom, Span) else (atom, atom)
    order = sys.byteorder if kind == _MARK else "big"
    return first.to_bytes(_LENGTHS[kind], order), last.to_bytes(_LENGTHS[kind], order)


def _padded(field: bytes) -> bytes:
    return field + b"\0" * (-len(field) % 4)


def _split(data: bytes, kinds: Sequence[int]) -> list[bytes]:
    parts = []
    start = 0
    for kind in kinds:
        length = _LENGTHS[kind]
        parts.append(data[start : start + length])
        start += (length + 3) & ~3
    return parts


def _text(low: bytes, high: bytes, kind: int) -> str:
    if kind == _IFNAME:
        return f'"{low.rstrip(bytes(1)).decode(errors="replace")}"'
    if kind in _ADDRESSES:
        return _address_text(low, high)
    order = sys.byteorder if kind == _MARK else "big"
    first, last = int.from_bytes(low, order), int.from_bytes(high, order)
    return str(first) if first == last else f"{first}-{last}"


def _address_text(low: bytes, high: bytes) -> str:
    first, last = ipaddress.ip_address(low), ipaddress.ip_address(high)
    if first == last:
        return str(first)
    networks = list(ipaddress.summarize_address_range(first, last))
    return str(networks[0]) if len(networks) == 1 else f"{first}-{last}"
