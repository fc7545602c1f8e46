"""Each place where instances are listed, asked once: several providers may share one (node agents make many bodies)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from astara.model.boundaries import InstanceLister, InstanceProvider


@dataclass(frozen=True, slots=True)
class Source:
    """What one call lists, and the names of the providers whose instances are in it."""

    lister: InstanceLister
    providers: tuple[str, ...]


def sources(providers: Mapping[str, InstanceProvider]) -> tuple[Source, ...]:
    """Group providers by the object their attribute `source` names; one without is a source by itself."""
    listers: dict[int, InstanceLister] = {}
    names: dict[int, list[str]] = {}
    for name, provider in providers.items():
        lister: InstanceLister = getattr(provider, "source", provider)
        listers[id(lister)] = lister
        names.setdefault(id(lister), []).append(name)
    return tuple(Source(lister, tuple(names[number])) for number, lister in listers.items())
