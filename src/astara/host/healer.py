"""Looks at instances that may have changed, and at all of them slowly; mends what differs; comes back later if it must.

Two sources: hints from the kernel (watch.py), looked at within a blink, and a round over everything, whose pace is
set by the CPU time it may use. A hint only says "look"; whether anything is wrong, read-back says.
"""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from astara.contract.agent import Health, Role, StateView
from astara.host.changes import Changes
from astara.host.instance import Instance
from astara.host.node import Node

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds, except `sweep_cpu_share`: the part of one CPU the slow round may use, resting `sweep_rest_s` or longer.

    `settle_s`: how long hints about one instance are gathered before looking. `calm_s`: how long an instance must
    stay well after a repair before it counts as well again; `immediate` repairs in a row are not put off, nor is the
    second attempt after one that failed: the first may have met a world that was still going to pieces.
    """

    settle_s: float = 0.03
    sweep_period_s: float = 10.0
    sweep_cpu_share: float = 0.02
    sweep_rest_s: float = 1.0
    first_retry_s: float = 0.5
    longest_retry_s: float = 60.0
    calm_s: float = 30.0
    immediate: int = 5
    threads: int = 4


@dataclass(slots=True)
class _Care:
    """What is remembered of one instance between looks: `failures` and `mends` since it was last well for a while."""

    failures: int = 0
    mends: int = 0
    troubled_at: float = float("-inf")
    health: Health | None = None
    role: Role | None = None


@dataclass(slots=True)
class _Agenda:
    """Which instances are to be looked at, and when; an instance is on it once, at its earliest time."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    heap: list[tuple[float, str]] = field(default_factory=list)
    due: dict[str, float] = field(default_factory=dict)
    ended: bool = False

    def add(self, instance_id: str, at: float) -> None:
        with self.changed:
            if self.due.get(instance_id, float("inf")) <= at:
                return
            self.due[instance_id] = at
            heapq.heappush(self.heap, (at, instance_id))
            self.changed.notify()

    def take(self, now: Callable[[], float]) -> str | None:
        """Wait for the next one that is due; None at the end."""
        with self.changed:
            while not self.ended:
                wait_s = self._first(now())
                if wait_s is not None and wait_s <= 0:
                    _, instance_id = heapq.heappop(self.heap)
                    del self.due[instance_id]
                    return instance_id
                self.changed.wait(wait_s)
            return None

    def _first(self, now: float) -> float | None:
        """Return seconds until the first entry that still counts; None when there is none."""
        while self.heap:
            at, instance_id = self.heap[0]
            if self.due.get(instance_id) == at:
                return at - now
            heapq.heappop(self.heap)  # an earlier time was put on since
        return None

    def end(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()


class Healer:
    """Runs from `start` to `stop`; `on_round` is called once per slow round, for what belongs to the whole node."""

    def __init__(
        self,
        node: Node,
        changes: Changes,
        pace: Pace | None = None,
        on_round: Callable[[], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._changes = changes
        self._pace = pace or Pace()
        self._on_round = on_round or (lambda: None)
        self._monotonic = monotonic
        self._agenda = _Agenda()
        self._cares: dict[str, _Care] = {}
        #: What was there when we began: who asks an agent that was started anew looks at everything himself.
        self._found: frozenset[str] = frozenset()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._found = frozenset(instance.id for instance in self._node.instances())
        targets = [self._work] * self._pace.threads + [self._sweep]
        self._threads = [threading.Thread(target=each, name=each.__name__.strip("_"), daemon=True) for each in targets]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the looks that are under way."""
        self._ended.set()
        self._agenda.end()
        for thread in self._threads:
            thread.join()

    def suspect(self, instance_id: str) -> None:
        """Something happened to this instance: look soon, later if it keeps breaking."""
        instance = self._node.find(instance_id)
        if instance is not None:
            instance.doubt()
            self._agenda.add(instance_id, self._monotonic() + self._delay_s(instance_id))

    def suspect_all(self) -> None:
        """Hints were lost: look at everything."""
        for instance in self._node.instances():
            self.suspect(instance.id)

    def look(self, instance: Instance) -> None:
        """Verify and mend one instance, and remember how it went."""
        care = self._cares.setdefault(instance.id, _Care())
        before = care.health, care.role
        try:
            mended = instance.verify()
        except Exception as error:  # noqa: BLE001  # whatever it is, this instance is tried again later
            self._failed(instance, care, str(error) or type(error).__name__)
            return
        state = instance.last_seen
        if state is None:
            self._cares.pop(instance.id, None)
            return
        care.health, care.role = state.health, state.role
        if mended and state.health is not Health.HEALTHY and state.health is not Health.UNCONFIGURED:
            self._failed(instance, care, _why(state))
        elif mended:
            self._mended(instance, care)
        elif self._differs(instance, before, state):
            self._publish(instance)

    def _differs(self, instance: Instance, before: tuple[Health | None, Role | None], state: StateView) -> bool:
        """Whether there is news. A half may have become the active one before the first look at it."""
        if before[0] is None:
            return state.role is not None and instance.id not in self._found
        return before != (state.health, state.role)

    def _mended(self, instance: Instance, care: _Care) -> None:
        self._count(care)
        care.failures = 0
        care.mends += 1
        _log.warning("instance.mended", instance=instance.id, times=care.mends)
        self._publish(instance)

    def _failed(self, instance: Instance, care: _Care, reason: str) -> None:
        self._count(care)
        care.failures += 1
        instance.failed(reason)
        delay_s = self._delay_s(instance.id)
        _log.error("instance.not_mended", instance=instance.id, failures=care.failures, again_s=delay_s, reason=reason)
        self._agenda.add(instance.id, self._monotonic() + delay_s)
        if care.failures == 2:  # the attempt after the first one follows at once
            self._publish(instance)

    def _count(self, care: _Care) -> None:
        """Trouble begins anew after a calm time."""
        now = self._monotonic()
        if now - care.troubled_at >= self._pace.calm_s + self._pace.longest_retry_s * (care.failures > 0):
            care.failures = care.mends = 0
        care.troubled_at = now

    def _publish(self, instance: Instance) -> None:
        if instance.record is not None:
            self._changes.publish(instance.record.key)

    def _delay_s(self, instance_id: str) -> float:
        care = self._cares.get(instance_id)
        doublings = -1 if care is None else max(care.failures - 2, care.mends - self._pace.immediate)
        if care is None or doublings < 0 or self._calm(care):
            return self._pace.settle_s
        retry_s = min(self._pace.first_retry_s * 2.0 ** min(doublings, 16), self._pace.longest_retry_s)
        return retry_s * random.uniform(0.8, 1.2)  # noqa: S311  # spreads retries, guards nothing

    def _calm(self, care: _Care) -> bool:
        return care.failures == 0 and self._monotonic() - care.troubled_at >= self._pace.calm_s

    def _work(self) -> None:
        while (instance_id := self._agenda.take(self._monotonic)) is not None:
            instance = self._node.find(instance_id)
            if instance is None:
                self._cares.pop(instance_id, None)
            else:
                self.look(instance)

    def _sweep(self) -> None:
        """Look at some, rest for as long as that costs: a look right after another takes two thirds of a lone one."""
        while not self._ended.is_set():
            began = self._monotonic()
            self._tend()
            owed_s = 0.0
            for instance in self._node.instances():
                before = time.thread_time()
                self._look_in_passing(instance)
                owed_s += (time.thread_time() - before) / self._pace.sweep_cpu_share
                if owed_s >= self._pace.sweep_rest_s:
                    if self._ended.wait(owed_s):
                        return
                    owed_s = 0.0
            self._ended.wait(max(owed_s, self._pace.sweep_period_s - (self._monotonic() - began)))

    def _tend(self) -> None:
        try:
            self._on_round()
        except Exception:  # noqa: BLE001  # the round over the instances goes on without it
            _log.exception("round.bug")

    def _look_in_passing(self, instance: Instance) -> None:
        """The slow round leaves alone what is on the agenda already: its time is set by the back-off."""
        if instance.id not in self._agenda.due:
            self.look(instance)


def _why(state: StateView) -> str:
    differences = "; ".join(f"{one.subsystem}: {one.detail}" for one in state.deviations[:3])
    return state.last_error or f"read-back still differs after the repair: {differences}"
