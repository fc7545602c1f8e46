"""What the engine remembers of each resource: the last look, for operators, and the tries, for the planner.

Bounded: a resource that is gone is forgotten, a settled one keeps its wish without the configuration.
Losing all of it is harmless; one full look brings it back.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from astara.contract.codec import Wire
from astara.model.boundaries import Clock
from astara.model.operator import HistoryLine, ResourceLine
from astara.model.resource import DesiredState, Present, ResourceKey, StatusTargets
from astara.planning.backoff import Attempts, FailureKind
from astara.planning.classify import Phase
from astara.planning.lifecycle import LIFECYCLE, wish_of
from astara.planning.policy import Policy

HISTORY_KEPT = 20
#: Of that many resources that are gone it is remembered when they were seen gone. Losing one costs one look.
GONE_KEPT = 10_000


class _Stripped(Wire, frozen=True):
    """Stands where a section was: drift is judged by digests alone."""


_NOTHING = _Stripped()
_NO_TARGETS = StatusTargets()
NEW = Attempts()


@dataclass(slots=True)
class Entry:
    """One resource. `desired` is stripped of sections and statuses; times ending in `_at` are wall seconds."""

    desired: DesiredState
    phase: Phase
    because: str
    attempts: Attempts = NEW
    answered: bool = False
    last_reconciled_at: float | None = None
    settled_since_at: float | None = None
    condemned: frozenset[str] = frozenset()
    history: deque[HistoryLine] = field(default_factory=lambda: deque(maxlen=HISTORY_KEPT))


@dataclass(frozen=True, slots=True)
class Look:
    """The outcome of one look at a resource. `settled`: nothing is left to do or to wait for."""

    desired: DesiredState
    phase: Phase
    because: str
    attempts: Attempts
    settled: bool
    answered: bool


class Wished(NamedTuple):
    """The last known wish of a resource, stripped, and how it went."""

    desired: DesiredState
    attempts: Attempts
    settled: bool


class Ledger:
    """Thread-safe; each resource is written by the one worker that holds it, or by a bulk look while none does."""

    def __init__(self, clock: Clock, policy: Policy) -> None:
        self._clock = clock
        self._policy = policy
        self._lock = threading.Lock()
        self._entries: dict[ResourceKey, Entry] = {}
        self._silent: dict[ResourceKey, float] = {}
        self._blind: dict[ResourceKey, Attempts] = {}
        self._gone: dict[ResourceKey, int] = {}

    # Writing

    def attempts(self, key: ResourceKey) -> Attempts:
        with self._lock:
            entry = self._entries.get(key)
            return entry.attempts if entry is not None else NEW

    def condemned(self, key: ResourceKey) -> frozenset[str]:
        """Return the ids of instances an operator wants replaced."""
        with self._lock:
            entry = self._entries.get(key)
            return entry.condemned if entry is not None else frozenset()

    def absolve(self, key: ResourceKey, instances: frozenset[str]) -> None:
        """These are deleted; a successor may carry the same id."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                entry.condemned -= instances

    def condemn(self, key: ResourceKey, instances: frozenset[str]) -> None:
        """Have these instances replaced; the resource must be known."""
        with self._lock:
            self._entries[key].condemned = instances

    def looked(self, key: ResourceKey, look: Look) -> None:
        """Take note of a look."""
        now, wall = self._clock.now(), self._clock.wall()
        with self._lock:
            self._blind.pop(key, None)
            if look.phase is Phase.GONE and look.settled:
                self._entries.pop(key, None)
                self._silent.pop(key, None)
                self._note_gone(key, look.desired.revision)
                return
            self._gone.pop(key, None)
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = Entry(stripped(look.desired), look.phase, look.because)
            self._update(key, entry, look, now, wall)

    def _note_gone(self, key: ResourceKey, revision: int) -> None:
        """A network that needs no service is "gone" for ever: the journal need not have it looked at once more."""
        self._gone.pop(key, None)
        self._gone[key] = revision
        if len(self._gone) > GONE_KEPT:
            del self._gone[next(iter(self._gone))]

    def _update(self, key: ResourceKey, entry: Entry, look: Look, now: float, wall: float) -> None:
        entry.desired = stripped(look.desired)
        entry.phase, entry.because = look.phase, look.because
        entry.attempts = look.attempts if look.attempts.memorable(now, self._policy) else NEW
        entry.last_reconciled_at = wall
        entry.answered = entry.answered or look.answered
        if not look.settled:
            entry.settled_since_at = None
        elif entry.settled_since_at is None:
            entry.settled_since_at = wall
        if look.settled:
            entry.condemned = frozenset()
        self._note_silence(key, entry, look.attempts, now)

    def _note_silence(self, key: ResourceKey, entry: Entry, attempts: Attempts, now: float) -> None:
        """Tell the fleet's silent ones from those that merely boot: these get half their deadline first."""
        booting = (
            entry.phase is Phase.SILENT
            and not entry.answered
            and now - attempts.since < self._policy.silent_deadline_s / 2
        )
        if entry.phase in (Phase.SILENT, Phase.UNREACHABLE) and not booting:
            self._silent.setdefault(key, now)
        else:
            self._silent.pop(key, None)

    def blind(self, key: ResourceKey) -> Attempts:
        """Return how often in a row the resource could not even be looked at; no part of its own tries."""
        with self._lock:
            return self._blind.get(key, NEW)

    def unseen(self) -> tuple[ResourceKey, ...]:
        """Return the resources that could not even be looked at the last time."""
        with self._lock:
            return tuple(self._blind)

    def could_not_look(self, key: ResourceKey, attempts: Attempts, because: str) -> None:
        with self._lock:
            self._blind[key] = attempts
            if (entry := self._entries.get(key)) is not None:
                entry.because = because

    def eager(self, key: ResourceKey) -> None:
        """Forget why the resource should wait."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                entry.attempts = entry.attempts.eager()

    def nudge(self, key: ResourceKey) -> None:
        """Something was said of the resource."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                entry.attempts = entry.attempts.nudged(self._clock.now(), self._policy.backoff)

    def hope(self) -> None:
        """Something came back: what failed because somebody was away may be tried at once, its tries still counted."""
        with self._lock:
            for entry in self._entries.values():
                last = entry.attempts.last
                if last is not None and last.kind is FailureKind.RETRY:
                    entry.attempts = replace(entry.attempts, not_before=0.0)

    def append(self, key: ResourceKey, line: HistoryLine) -> None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                entry.history.append(line)

    def forget(self, key: ResourceKey) -> None:
        """It is another process's now."""
        with self._lock:
            for memory in (self._entries, self._silent, self._blind, self._gone):
                memory.pop(key, None)

    # Reading

    def known(self) -> tuple[ResourceKey, ...]:
        with self._lock:
            return tuple(self._entries)

    def tenant(self, key: ResourceKey) -> str:
        """Return the project of a resource; empty while it is not known."""
        with self._lock:
            entry = self._entries.get(key)
            return entry.desired.project_id if entry is not None and isinstance(entry.desired, Present) else ""

    def knows(self, key: ResourceKey) -> bool:
        with self._lock:
            return key in self._entries

    def wishes(self) -> dict[ResourceKey, Wished]:
        """Return what a bulk look needs of every resource."""
        with self._lock:
            return {
                key: Wished(entry.desired, entry.attempts, entry.settled_since_at is not None)
                for key, entry in self._entries.items()
            }

    def revision(self, key: ResourceKey) -> int:
        """Return the Neutron revision of the last look that got to the end; -1 when there was none."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return self._gone.get(key, -1)
            return entry.desired.revision if entry.settled_since_at is not None else -1

    def silent(self) -> tuple[Mapping[ResourceKey, float], int]:
        """Return since when (monotonic) each silent resource is silent, and how many resources there are."""
        with self._lock:
            return dict(self._silent), len(self._entries)

    def history(self, key: ResourceKey) -> tuple[HistoryLine, ...]:
        with self._lock:
            entry = self._entries.get(key)
            return tuple(entry.history) if entry is not None else ()

    def phases(self) -> dict[str, int]:
        """Count resources by phase."""
        with self._lock:
            return dict(Counter(entry.phase.value for entry in self._entries.values()))

    def lines(self, keys: Iterable[ResourceKey] | None = None) -> tuple[ResourceLine, ...]:
        """Return the operator's view; `held` and `next_look_in_s` are filled in by the engine."""
        with self._lock:
            wanted = self._entries if keys is None else [key for key in keys if key in self._entries]
            return tuple(_line(key, self._entries[key]) for key in wanted)


def _line(key: ResourceKey, entry: Entry) -> ResourceLine:
    desired = entry.desired
    present = desired if isinstance(desired, Present) else None
    return ResourceLine(
        key=str(key),
        name=present.name if present else "",
        project_id=present.project_id if present else "",
        phase=entry.phase.value,
        host=", ".join(sorted({wanted.host for wanted in present.instances})) or None if present else None,
        because=entry.because,
        attempts=entry.attempts.tries,
        last_reconciled_at=entry.last_reconciled_at,
        settled_since=entry.settled_since_at,
    )


def stripped(desired: DesiredState) -> DesiredState:
    """Return the wish without what is big (sections) and what ages (statuses shown)."""
    if not isinstance(desired, Present):
        return desired
    instances = tuple(replace(wanted, section=_NOTHING) for wanted in desired.instances)
    return replace(desired, instances=instances, status=_NO_TARGETS)


def settles(desired: DesiredState, phase: Phase) -> bool:
    """Return whether the lifecycle calls this phase settled under this wish."""
    transition = LIFECYCLE.get((wish_of(desired), phase))
    return transition is not None and transition.settled
