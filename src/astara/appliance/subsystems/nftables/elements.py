"""What is wanted in sets and maps, and what is there, compared in the kernel's bytes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from astara.appliance.subsystems.nftables import codec
from astara.appliance.subsystems.nftables.codec import UnknownType
from astara.appliance.subsystems.nftables.config import Element, LinkOf
from astara.appliance.system.nfnetlink import RawElement, SetShape

#: Name of a set -> what is in it; a set that is not named is empty.
Contents = Mapping[str, frozenset[RawElement]]
Shapes = Mapping[str, SetShape]
_NOTHING: frozenset[RawElement] = frozenset()


def wanted(
    elements: Mapping[str, Iterable[Element]], shapes: Shapes, links: Mapping[str, str]
) -> dict[str, frozenset[RawElement]]:
    """Return the contents in bytes; `links` is MAC -> name. Raises codec.UnknownLink, codec.UnknownType."""
    strange = sorted(set(elements) - set(shapes))
    if strange:
        raise UnknownType(f"{strange[0]}: no such set in the structure")
    return {
        name: frozenset([codec.encode(element, shapes[name], links) for element in members])
        for name, members in elements.items()
    }


def links_of(elements: Mapping[str, Iterable[Element]]) -> Iterator[LinkOf]:
    """Yield every link that is named."""
    for members in elements.values():
        for element in members:
            for atom in (*element.key, *element.value):
                if isinstance(atom, LinkOf):
                    yield atom


def differences(current: Contents, target: Contents) -> Iterator[tuple[str, list[RawElement], list[RawElement]]]:
    """Yield the name of each set that differs, what is not wanted in it, and what is missing."""
    for name in sorted(set(current) | set(target)):
        has, should = current.get(name, _NOTHING), target.get(name, _NOTHING)
        if has != should:
            yield name, sorted(has - should), sorted(should - has)


def describe(current: Contents, target: Contents, shapes: Shapes) -> list[str]:
    """Say in words how `current` differs from `target`, one line per element."""
    lines = []
    for name, gone, new in differences(current, target):
        lines += [f"{name}: {codec.words(raw, shapes[name])} is missing" for raw in new]
        lines += [f"{name}: {codec.words(raw, shapes[name])} is not wanted" for raw in gone]
    return lines
