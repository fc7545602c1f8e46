"""What must be looked at: one entry per resource, one worker per resource, however many events come.

An event for a resource being worked on makes exactly one more run. Two lanes keep a fresh event, and what it
began, from waiting behind a full look at everything; every fifth turn belongs to the background all the same. In each
lane tenants are served in turn; resources nobody has looked at yet have no known tenant, and share one turn.
"""

from __future__ import annotations

import enum
import heapq
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from astara.model.boundaries import Clock
from astara.model.resource import ResourceKey
from astara.reconcile.lanes import FairQueue

REASONS_KEPT = 8
#: The reason of a look that was only wished for: its time has come.
AGAIN = "again"
_FRESH_IN_A_ROW = 4
#: New work that wants another look this soon is still in the making; what waits longer has failed, and is in no hurry.
_IN_THE_MAKING_S = 5.0


class Lane(enum.IntEnum):
    FRESH = 0
    BACKGROUND = 1


@dataclass(frozen=True, slots=True)
class Work:
    """One turn. `reasons` are for the log only, but for whether there was any beside the clock."""

    key: ResourceKey
    reasons: tuple[str, ...]

    @property
    def told(self) -> bool:
        """Return whether somebody said something about it."""
        return any(reason != AGAIN for reason in self.reasons)


@dataclass(slots=True)
class _Entry:
    reasons: list[str] = field(default_factory=list)
    lane: Lane = Lane.BACKGROUND
    ticket: int = 0  # of its place in a lane; 0: not queued
    due: float | None = None
    working: bool = False
    taken_from: Lane = Lane.BACKGROUND


class Inbox:
    """Thread-safe; every operation costs at most O(log n)."""

    def __init__(
        self,
        clock: Clock,
        takes: Callable[[ResourceKey], bool] = lambda key: True,
        tenant_of: Callable[[ResourceKey], str] = lambda key: "",
    ) -> None:
        self._clock = clock
        self._tenant_of = tenant_of
        self._takes = takes
        self._changed = threading.Condition()
        self._entries: dict[ResourceKey, _Entry] = {}
        self._lanes = (FairQueue(), FairQueue())
        self._later: list[tuple[float, int, ResourceKey]] = []
        self._tickets = itertools.count(1)
        self._fresh_in_a_row = 0
        self._working = 0
        self._queued = 0
        self._closed = False

    def add(self, key: ResourceKey, reason: str, lane: Lane = Lane.FRESH) -> None:
        """Have the resource looked at as soon as a worker is free, or once more when it is being worked on.

        One that is another process's is left to it: whoever told us told it too.
        """
        if not self._takes(key):
            return
        with self._changed:
            entry = self._entries.setdefault(key, _Entry())
            if len(entry.reasons) < REASONS_KEPT and reason not in entry.reasons:
                entry.reasons.append(reason)
            entry.due = None
            if entry.working:
                entry.lane = min(entry.lane, lane)
                return
            if not entry.ticket or lane < entry.lane:
                self._enqueue(key, entry, min(entry.lane, lane))
                self._changed.notify()

    def take(self, wait_s: float) -> Work | None:
        """Return the next resource to work on; None after `wait_s` without one, or when closed.

        Whoever takes calls `done` in the end, whatever happens.
        """
        give_up_at = self._clock.now() + wait_s
        with self._changed:
            while not self._closed:
                now = self._clock.now()
                self._promote(now)
                if (work := self._pop()) is not None:
                    return work
                if now >= give_up_at:
                    return None
                due_at = self._later[0][0] if self._later else give_up_at
                self._changed.wait(max(0.0, min(due_at, give_up_at) - now))
            return None

    def done(self, key: ResourceKey, requeue_after_s: float | None) -> None:
        """End a turn; what arrived meanwhile comes first, then the wish to come again later.

        Wakes those who have a reason: every idle worker, woken for nothing, takes its turn of the interpreter.
        """
        with self._changed:
            entry = self._entries[key]
            entry.working = False
            self._working -= 1
            if entry.reasons:
                self._enqueue(key, entry, entry.lane)
                self._changed.notify()
            elif requeue_after_s is not None:
                if requeue_after_s <= _IN_THE_MAKING_S:
                    entry.lane = entry.taken_from
                self._schedule(key, entry, self._clock.now() + requeue_after_s)
            else:
                del self._entries[key]
            if self._closed:
                self._changed.notify_all()  # somebody waits for the last one

    def forget(self, key: ResourceKey) -> None:
        """Look at it no more, unless a worker does at this moment: that one ends by itself."""
        with self._changed:
            entry = self._entries.get(key)
            if entry is None:
                return
            if entry.working:
                entry.reasons, entry.due = [], None
                return
            self._queued -= bool(entry.ticket)
            del self._entries[key]

    def keys(self) -> tuple[ResourceKey, ...]:
        """Return every resource that is queued, scheduled or being worked on."""
        with self._changed:
            return tuple(self._entries)

    def wake(self) -> None:
        """Have waiting workers look at the clock again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def drained(self, wait_s: float) -> bool:
        """Wait, after `close`, until nobody works; False when `wait_s` was not enough."""
        with self._changed:
            return self._changed.wait_for(lambda: self._working == 0, wait_s)

    def knows(self, key: ResourceKey) -> bool:
        """Return whether the resource is queued, scheduled or being worked on."""
        with self._changed:
            return key in self._entries

    def working_on(self, key: ResourceKey) -> bool:
        """Return whether a worker holds the resource."""
        with self._changed:
            entry = self._entries.get(key)
            return entry is not None and entry.working

    def next_look_at(self, key: ResourceKey) -> float | None:
        """Return the monotonic time of its next look: now when queued, None when nothing is scheduled."""
        with self._changed:
            entry = self._entries.get(key)
            if entry is None:
                return None
            return entry.due if entry.due is not None else self._clock.now()

    def next_due(self) -> float | None:
        """Return the monotonic time of the earliest scheduled look."""
        with self._changed:
            self._drop_stale()
            return self._later[0][0] if self._later else None

    @property
    def depth(self) -> int:
        """Resources waiting for a worker now."""
        return self._queued

    @property
    def working(self) -> int:
        return self._working

    def _enqueue(self, key: ResourceKey, entry: _Entry, lane: Lane) -> None:
        self._queued += not entry.ticket
        entry.ticket, entry.lane, entry.due = next(self._tickets), lane, None
        self._lanes[lane].push(self._tenant_of(key), key, entry.ticket)

    def _schedule(self, key: ResourceKey, entry: _Entry, due: float) -> None:
        entry.due = due
        if not self._later or due < self._later[0][0]:
            self._changed.notify_all()  # whoever waits, waits for something later
        heapq.heappush(self._later, (due, next(self._tickets), key))
        if len(self._later) > 2 * len(self._entries) + 64:
            self._later = [item for item in self._later if self._is_due(item)]
            heapq.heapify(self._later)

    def _is_due(self, item: tuple[float, int, ResourceKey]) -> bool:
        entry = self._entries.get(item[2])
        return entry is not None and entry.due == item[0]

    def _drop_stale(self) -> None:
        while self._later and not self._is_due(self._later[0]):
            heapq.heappop(self._later)

    def _promote(self, now: float) -> None:
        self._drop_stale()
        while self._later and self._later[0][0] <= now:
            key = heapq.heappop(self._later)[2]
            entry = self._entries[key]
            entry.reasons.append(AGAIN)
            self._enqueue(key, entry, entry.lane)
            self._drop_stale()

    def _pop(self) -> Work | None:
        order = (Lane.FRESH, Lane.BACKGROUND)
        if self._fresh_in_a_row >= _FRESH_IN_A_ROW:
            order = (Lane.BACKGROUND, Lane.FRESH)
        for lane in order:
            queue = self._lanes[lane]
            while (waiting := queue.pop()) is not None:
                key, ticket = waiting
                entry = self._entries.get(key)
                if entry is None or entry.ticket != ticket:
                    continue  # promoted to the other lane meanwhile
                self._fresh_in_a_row = self._fresh_in_a_row + 1 if lane is Lane.FRESH else 0
                return self._begin(key, entry)
        return None

    def _begin(self, key: ResourceKey, entry: _Entry) -> Work:
        work = Work(key, tuple(entry.reasons))
        entry.taken_from = entry.lane
        entry.reasons, entry.ticket, entry.lane, entry.working = [], 0, Lane.BACKGROUND, True
        self._queued -= 1
        self._working += 1
        return work
