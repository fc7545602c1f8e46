"""Elements in one canonical form, so that what is wanted and what is there compare. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping

from astara.appliance.subsystems.nftables.config import Atom, Element, LinkOf, Span

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


def links_of(elements: Mapping[str, Iterable[Element]]) -> Iterator[LinkOf]:
    """Yield every link that is named."""
    for members in elements.values():
        for element in members:
            for atom in (*element.key, *element.value):
                if isinstance(atom, LinkOf):
                    yield atom


def describe(current: Contents, target: Contents) -> list[str]:
    """Say in words how `current` differs from `target`, one line per element."""
    lines = []
    for name in sorted(set(current) | set(target)):
        has, should = current.get(name, frozenset()), target.get(name, frozenset())
        lines += [f"{name}: {_one(pair)} is missing" for pair in sorted(should - has)]
        lines += [f"{name}: {_one(pair)} is not wanted" for pair in sorted(has - should)]
    return lines


def _one(pair: Pair) -> str:
    key = " . ".join(pair[0])
    return f"{key} : {' . '.join(pair[1])}" if pair[1] else key


def _fields(atoms: tuple[Atom, ...], links: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(_atom(atom, links) for atom in atoms)


def _atom(atom: Atom, links: Mapping[str, str]) -> str:
    if isinstance(atom, LinkOf):
        name = links.get(atom.mac)
        if name is None:
            raise UnknownLink(atom.mac)
        return f'"{name}"'
    if isinstance(atom, Span):
        return str(atom.first) if atom.first == atom.last else f"{atom.first}-{atom.last}"
    if isinstance(atom, ipaddress.IPv4Network | ipaddress.IPv6Network) and atom.prefixlen == atom.max_prefixlen:
        return str(atom.network_address)
    return str(atom)
