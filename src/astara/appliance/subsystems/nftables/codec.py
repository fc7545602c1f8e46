"""Elements between their canonical text and the kernel's bytes, by the types of the set's fields. Pure.

Type numbers are nftables' own (its include/datatype.h). Fields of a concatenation are padded to four bytes.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Sequence

from astara.appliance.subsystems.nftables.elements import Pair
from astara.appliance.system.nfnetlink import RawElement, SetShape

_IPV4, _IPV6, _PROTOCOL, _SERVICE, _MARK, _IFNAME = 7, 8, 12, 13, 19, 41
_LENGTHS = {_IPV4: 4, _IPV6: 16, _PROTOCOL: 1, _SERVICE: 2, _MARK: 4, _IFNAME: 16}
_ADDRESSES = (_IPV4, _IPV6)


class UnknownType(ValueError):
    """A set of a type this agent does not speak, or an element that is no element of its set."""


def speaks(shape: SetShape) -> bool:
    """Whether elements of such a set can be written and read: known types, and ranges in concatenations only."""
    known = all(kind in _LENGTHS for kind in (*shape.key, *shape.value))
    return known and (len(shape.key) > 1 or not shape.ranges)


def encode(pair: Pair, shape: SetShape) -> RawElement:
    """Return the bytes of one element. Raises UnknownType."""
    key, value = pair
    if len(key) != len(shape.key) or len(value) != len(shape.value):
        raise UnknownType(f"{shape.name}: not {len(shape.key)} and {len(shape.value)} fields")
    bounds = [_bounds(text, kind, shape) for text, kind in zip(key, shape.key, strict=True)]
    first = b"".join(_padded(low, len(bounds)) for low, _ in bounds)
    last = b"".join(_padded(high, len(bounds)) for _, high in bounds)
    if not shape.ranges and first != last:
        raise UnknownType(f"{shape.name}: a range in a set without ranges")
    values = [_bounds(text, kind, shape)[0] for text, kind in zip(value, shape.value, strict=True)]
    return RawElement(first, last if shape.ranges else b"", b"".join(_padded(part, len(values)) for part in values))


def decode(raw: RawElement, shape: SetShape) -> Pair:
    """Return the canonical text of one element."""
    first = _split(raw.key, shape.key)
    last = _split(raw.last or raw.key, shape.key)
    key = tuple(_text(low, high, kind) for low, high, kind in zip(first, last, shape.key, strict=True))
    value = tuple(
        _text(part, part, kind) for part, kind in zip(_split(raw.value, shape.value), shape.value, strict=True)
    )
    return key, value


def _bounds(text: str, kind: int, shape: SetShape) -> tuple[bytes, bytes]:
    try:
        if kind == _IFNAME:
            name = text.strip('"').encode().ljust(_LENGTHS[kind], b"\0")
            return name, name
        if kind in _ADDRESSES:
            return _address_bounds(text, kind)
        low, _, high = text.partition("-")
        order = sys.byteorder if kind == _MARK else "big"
        length = _LENGTHS[kind]
        return int(low).to_bytes(length, order), int(high or low).to_bytes(length, order)
    except (ValueError, OverflowError, KeyError):
        raise UnknownType(f"{shape.name}: a field does not fit its type") from None


def _address_bounds(text: str, kind: int) -> tuple[bytes, bytes]:
    network = ipaddress.ip_network(text)
    if len(network.network_address.packed) != _LENGTHS[kind]:
        raise ValueError("the other IP version")
    return network.network_address.packed, network.broadcast_address.packed


def _padded(field: bytes, fields: int) -> bytes:
    return field if fields == 1 else field + b"\0" * (-len(field) % 4)


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
