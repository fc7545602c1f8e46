"""What happened when: changes, kills, phases. Filled by many threads, read at the end."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """`at_s` counts from the start of the storm; `outcome` is short: "ok", an HTTP status, "nothing to do"."""

    at_s: float
    kind: str  # "phase", "change", "kill", "probe"
    words: str
    outcome: str = ""


class Timeline:
    """Append-only; its clock is monotonic."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._mutex = threading.Lock()
        self._moments: list[Moment] = []

    def now_s(self) -> float:
        return time.monotonic() - self._began

    def at_s(self, monotonic_s: float) -> float:
        """Return a time of the monotonic clock in seconds since the start."""
        return monotonic_s - self._began

    def note(self, kind: str, words: str, outcome: str = "", at_s: float | None = None) -> None:
        moment = Moment(self.now_s() if at_s is None else at_s, kind, words, outcome)
        with self._mutex:
            self._moments.append(moment)

    def moments(self) -> tuple[Moment, ...]:
        with self._mutex:
            return tuple(sorted(self._moments, key=lambda moment: moment.at_s))


def around(moments: Iterable[Moment], at_s: float, before_s: float = 1.0, after_s: float = 0.3) -> tuple[Moment, ...]:
    """Return what else happened near a time: mostly before it, since causes come first."""
    return tuple(m for m in moments if at_s - before_s <= m.at_s <= at_s + after_s)


def tally(moments: Iterable[Moment], kind: str) -> dict[str, int]:
    """Count the moments of a kind by first word and outcome."""
    counted = Counter(f"{m.words.split(' ')[0]} {m.outcome}".strip() for m in moments if m.kind == kind)
    return dict(sorted(counted.items()))
