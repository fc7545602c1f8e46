"""What a run records: one line of JSON for each thing that happened. The laws read this and nothing else.

Times are seconds since the run began, of the monotonic clock, unless a field says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from storm.sight import Sight
from storm.wish import Wish

T = TypeVar("T")


class Entry(msgspec.Struct, frozen=True, tag_field="is"):
    """Any line."""


class Begin(Entry, frozen=True, tag="begin"):
    """`machine`, `versions`: what was run on and with, in words; `began_at`: seconds since the epoch."""

    seed: str
    began_at: float
    seconds: float
    machine: str
    versions: dict[str, str]
    orchestrators: tuple[str, ...]
    nodes: tuple[str, ...]


class Fault(Entry, frozen=True, tag="fault"):
    """One thing that failed: from `at_s` to `over_s`; everything was verified again at `verified_s`, None: not before
    the next one, and `waits` says for what. `failed`: why it could not be brought about."""

    kind: str
    target: str
    words: str
    at_s: float
    over_s: float
    verified_s: float | None
    failed: str = ""
    waits: str = ""


class Change(Entry, frozen=True, tag="change"):
    """One call of a tenant's to Neutron; `outcome` is "ok", an HTTP status, or "away"."""

    at_s: float
    words: str
    outcome: str


class Act(Entry, frozen=True, tag="act"):
    """What a node agent let in or refused, in the order in which it did; `generation` is (term, revision)."""

    node: str
    instance: str
    act: str
    generation: tuple[int, int]
    let_in: bool
    spare: bool = False


class Audit(Entry, frozen=True, tag="audit"):
    """A line of the orchestrators' audit that says a generation."""

    key: str
    who: str
    term: int
    outcome: str
    steps: int
    undone: int


class Ring(Entry, frozen=True, tag="ring"):
    """Who shared the work from an epoch on; `follows`: the epoch it replaced."""

    epoch: int
    follows: int
    members: tuple[str, ...]
    why: str


class Sample(Entry, frozen=True, tag="sample"):
    """A look at every orchestrator. `owned`: resources by member; `active`: node of the active half, by pair."""

    at_s: float
    unsettled: int
    away: tuple[str, ...]
    owned: dict[str, int]
    active: dict[str, str]
    why: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        return not self.unsettled and not self.away


class Flow(Entry, frozen=True, tag="flow"):
    """What one steady question met. `through`: "single" or "pair"; `kind`: "fresh", "flow" or "tcp"; `broken`: why a
    connection ended, "" while it lives; `silences`: (from, seconds); `heard_s`: the last answer came then."""

    name: str
    through: str
    kind: str
    sent: int
    answered: int
    lost_at: tuple[float, ...]
    silences: tuple[tuple[float, float], ...] = ()
    slowest_s: float = 0.0
    broken: str = ""
    heard_s: float | None = None


class Body(Entry, frozen=True, tag="body"):
    """The namespace of an untouched router or network, by what tells it from a later one; None: gone."""

    name: str
    before: int
    after: int | None


class World(Entry, frozen=True, tag="world"):
    """Neutron's wish beside what the nodes had, "rest" after the faults or "cleared" after everything was deleted.

    `waited_s` until that was so, or the patience that was not enough.
    """

    when: str
    wish: Wish
    nodes: dict[str, Sight]
    waited_s: float


class Instance(Entry, frozen=True, tag="instance"):
    """An instance that a node agent keeps, after the run's end."""

    id: str
    key: str
    slot: str
    node: str
    when: str


class Leftover(Entry, frozen=True, tag="leftover"):
    """Something that is there and belongs to nothing, found after everything was deleted."""

    where: str
    what: str


History = tuple[Entry, ...]
_ANY = (
    Begin | Fault | Change | Act | Audit | Ring | Sample | Flow | Body | World | Instance | Leftover  # a closed set
)


def write(path: Path, entries: Iterable[Entry]) -> None:
    path.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))


def read(path: Path) -> History:
    """Raises msgspec.MsgspecError for a line that is none of ours."""
    decoder = msgspec.json.Decoder(_ANY)
    return tuple(decoder.decode(line) for line in path.read_bytes().splitlines())


def of(kind: type[T], history: Iterable[Entry]) -> tuple[T, ...]:
    """Return the entries of a kind, in order."""
    return tuple(entry for entry in history if isinstance(entry, kind))
