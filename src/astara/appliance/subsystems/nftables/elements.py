"""Elements as text: what we want, and what libnftables' JSON says, in one canonical form so that they compare. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from astara.appliance.subsystems.nftables.config import Atom, Element, LinkIndexOf, LinkOf, Span

#: (key fields, value fields), each as nft writes it.
Pair = tuple[tuple[str, ...], tuple[str, ...]]
Contents = Mapping[str, frozenset[Pair]]


class UnknownLink(LookupError):
    """An element names a link that is not plugged in."""


def wanted(elements: Mapping[str, Iterable[Element]], links: Mapping[str, str]) -> dict[str, frozenset[Pair]]:
    """Return the canonical contents; `links` is MAC -> name. Raises UnknownLink."""
    return {
        name: frozenset((_fields(element.key, links), _fields(element.value, links)) for element in members)
        for name, members in elements.items()
    }


def found(listing: Iterable[dict[str, Any]]) -> dict[str, frozenset[Pair]]:
    """Return the canonical contents of every set and map in libnftables' JSON objects."""
    contents: dict[str, frozenset[Pair]] = {}
    for item in listing:
        body = item.get("set") or item.get("map")
        if body is not None:
            contents[body["name"]] = frozenset(_pair(element, "map" in item) for element in body.get("elem", ()))
    return contents


def structure(listing: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """Return everything of libnftables' JSON objects that is not an element, in order, one line per object."""
    lines = []
    for item in listing:
        ((kind, body),) = item.items()
        kept = {name: value for name, value in body.items() if name not in ("handle", "elem")}
        lines.append(f"{kind} {msgspec.json.encode(kept, order='sorted').decode()}")
    return tuple(lines)


def links_of(elements: Mapping[str, Iterable[Element]]) -> Iterator[LinkOf]:
    """Yield every link that is named."""
    for members in elements.values():
        for element in members:
            for atom in (*element.key, *element.value):
                if isinstance(atom, LinkOf):
                    yield atom


def without_indices(elements: Mapping[str, Iterable[Element]]) -> dict[str, frozenset[Element]]:
    """Return the elements that mean something in a namespace without the links."""
    return {
        name: frozenset(
            element for element in members if not any(isinstance(atom, LinkIndexOf) for atom in element.key)
        )
        for name, members in elements.items()
    }


def updates(table: str, current: Contents, target: Contents) -> list[str]:
    """Return the nft commands that turn `current` into `target`: removals first, per set."""
    commands = []
    for name in sorted(set(current) | set(target)):
        has, should = current.get(name, frozenset()), target.get(name, frozenset())
        if has - should:
            commands.append(f"delete element {table} {name} {{ {_listed(has - should, keys_only=True)} }}")
        if should - has:
            commands.append(f"add element {table} {name} {{ {_listed(should - has, keys_only=False)} }}")
    return commands


def describe(current: Contents, target: Contents) -> list[str]:
    """Say in words how `current` differs from `target`, one line per element."""
    lines = []
    for name in sorted(set(current) | set(target)):
        has, should = current.get(name, frozenset()), target.get(name, frozenset())
        lines += [f"{name}: {_one(pair)} is missing" for pair in sorted(should - has)]
        lines += [f"{name}: {_one(pair)} is not wanted" for pair in sorted(has - should)]
    return lines


def _listed(pairs: Iterable[Pair], *, keys_only: bool) -> str:
    return ", ".join(" . ".join(pair[0]) if keys_only else _one(pair) for pair in sorted(pairs))


def _one(pair: Pair) -> str:
    key = " . ".join(pair[0])
    return f"{key} : {' . '.join(pair[1])}" if pair[1] else key


def _fields(atoms: tuple[Atom, ...], links: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(_atom(atom, links) for atom in atoms)


def _atom(atom: Atom, links: Mapping[str, str]) -> str:
    if isinstance(atom, LinkOf | LinkIndexOf):
        name = links.get(atom.mac)
        if name is None:
            raise UnknownLink(atom.mac)
        return f'"{name}"'
    if isinstance(atom, Span):
        return str(atom.first) if atom.first == atom.last else f"{atom.first}-{atom.last}"
    if isinstance(atom, ipaddress.IPv4Network | ipaddress.IPv6Network) and atom.prefixlen == atom.max_prefixlen:
        return str(atom.network_address)
    return str(atom)


def _pair(element: Any, is_map: bool) -> Pair:
    if is_map:
        return _seen_fields(element[0]), _seen_fields(element[1])
    return _seen_fields(element), ()


def _seen_fields(value: Any) -> tuple[str, ...]:
    if isinstance(value, dict) and "elem" in value:
        return _seen_fields(value["elem"]["val"])
    if isinstance(value, dict) and "concat" in value:
        return tuple(_seen(field) for field in value["concat"])
    return (_seen(value),)


def _seen(value: Any) -> str:
    if isinstance(value, dict) and "prefix" in value:
        return f"{value['prefix']['addr']}/{value['prefix']['len']}"
    if isinstance(value, dict) and "range" in value:
        first, last = value["range"]
        return str(first) if first == last else f"{first}-{last}"
    if isinstance(value, str) and not _numeric(value):
        return f'"{value}"'
    return str(value)


def _numeric(word: str) -> bool:
    if word.isdigit():
        return True
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True
