"""What an operator says about pools: section [pool] of astara.conf, and the numbers nobody needs to change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from astara.pool.deficit import Shelf, Size
from astara.pool.demand import DemandPolicy

_KIND = re.compile(r"(?P<provider>[^/+\s]+)(/(?P<image>[^+\s]+))?(\+(?P<nics>\d+))?")
_SIZE = re.compile(r"(?P<floor>\d{1,4})(\s*\.\.\s*(?P<ceiling>\d{1,4}))?")


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """What spares are of, on every host alike."""

    provider: str
    image: str | None = None
    nics: int = 0

    def on(self, host: str) -> Shelf:
        return Shelf(self.provider, host, self.image, self.nics)


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """Seconds everywhere. `look_s`: how often spares are looked at without a reason, `settle_s`: apart at least,
    `yield_look_s`, `coming_look_s`: while real work goes first, or spares start; `idle_look_s`: where no pool is kept.
    `refill_guess_s`: how long a spare takes before one was measured. `patience_s`: the longest a refill waits for real
    work. `retry_first_s`, `retry_cap_s`: after a refill that failed, doubled each time.
    """

    sizes: Mapping[Kind, Size] = field(default_factory=dict)
    demand: DemandPolicy = field(default_factory=DemandPolicy)
    look_s: float = 10.0
    settle_s: float = 0.2
    boot_deadline_s: float = 120.0
    refill_guess_s: float = 10.0
    patience_s: float = 10.0
    yield_look_s: float = 0.5
    coming_look_s: float = 1.0
    idle_look_s: float = 600.0
    retry_first_s: float = 1.0
    retry_cap_s: float = 300.0
    threads: int = 8


def sizes(settings: Mapping[str, str]) -> dict[Kind, Size]:
    """Read section [pool]: KIND[/IMAGE][+NICS] = FLOOR..CEILING, or one number for both.

    Raises:
        ValueError: naming the option, and what to write.
    """
    return {_kind(name): _size(name, text) for name, text in settings.items()}


def _kind(name: str) -> Kind:
    found = _KIND.fullmatch(name.strip())
    if found is None:
        raise ValueError(f"[pool] {name} is not KIND, KIND/IMAGE or KIND+NICS")
    return Kind(found["provider"], found["image"], int(found["nics"] or 0))


def _size(name: str, text: str) -> Size:
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"[pool] {name} = {text} is not FLOOR..CEILING, for example 1..4")
    floor = int(found["floor"])
    ceiling = int(found["ceiling"] or floor)
    if ceiling < floor:
        raise ValueError(f"[pool] {name} = {text}: the ceiling is below the floor")
    return Size(floor, ceiling)
