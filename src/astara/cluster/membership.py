"""This process as a member: beats, follows the rings, appends one when others came or went, and knows what it owns.

Two threads: one makes the passes, whose calls may hang; one only feels the pulse of the process itself. A process that
was stopped (SIGSTOP, a suspended machine, swapping) finds out by its pulse and acts on nothing before it has looked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from astara.cluster.boundaries import Coordinator, Rings
from astara.cluster.ring import owner, without
from astara.cluster.succession import reason, successor
from astara.model.boundaries import Clock
from astara.model.cluster import Member, Ring
from astara.model.errors import AstaraError
from astara.model.resource import ResourceKey

_log = structlog.get_logger(__name__)
#: Answers of one ring are remembered for so many keys; a look at everything asks for each again and again.
_REMEMBERED = 200_000


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Seconds. A member silent for `lease_s` has lost its work to others at the latest two beats later."""

    lease_s: float = 3.0

    @property
    def beat_s(self) -> float:
        return self.lease_s / 5

    @property
    def frozen_s(self) -> float:
        """A pulse missing for so long means that others may have begun to take over."""
        return self.lease_s / 2


@dataclass(frozen=True, slots=True)
class _Held:
    """One ring, seen from one member."""

    ring: Ring
    me: Member
    known: dict[ResourceKey, bool] = field(default_factory=dict)

    def owns(self, key: ResourceKey) -> bool:
        answer = self.known.get(key)
        if answer is None:
            if len(self.known) >= _REMEMBERED:
                self.known.clear()
            answer = self.known[key] = owner(self.ring, str(key)) == self.me
        return answer


@dataclass(frozen=True, slots=True)
class Standing:
    """How it goes, for operators. Empty words: well. `present` is who beat at the last pass; `pauses` were felt."""

    me: Member
    ring: Ring | None
    present: frozenset[Member]
    coordination: str
    records: str
    frozen: bool
    pauses: int


class Membership:
    """Implements reconcile.boundaries.Ownership. `moved` is called after each change of ring, by the passing thread."""

    def __init__(
        self,
        me: Member,
        coordinator: Coordinator,
        rings: Rings,
        clock: Clock,
        options: ClusterOptions | None = None,
        moved: Callable[[], None] = lambda: None,
        crashed: Callable[[str], None] = lambda thread: None,
        heard: int = 0,
    ) -> None:
        """`heard`: a term that was in use before there were rings: epochs begin above it."""
        self.me = me
        self.moved = moved
        self._options = options or ClusterOptions()
        self._coordinator = coordinator
        self._rings = rings
        self._clock = clock
        self._crashed = crashed
        self._heard = heard
        self._lock = threading.Lock()
        self._passing = threading.Lock()
        self._held: _Held | None = None
        self._present: frozenset[Member] = frozenset()
        self._answers_since: float | None = None
        self._coordination = "not asked yet"
        self._records = "not asked yet"
        self._pulse = clock.now()
        self._frozen_at: float | None = None
        self._pauses = 0
        self._leaving = False
        self._first = threading.Event()
        self._hurry = threading.Event()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._pass, name="membership", daemon=True),
            threading.Thread(target=self._feel, name="pulse", daemon=True),
        ]

    # Ownership

    @property
    def epoch(self) -> int:
        """The epoch of the ring in force here; 0 before the first."""
        held = self._held
        return 0 if held is None else held.ring.epoch

    @property
    def ring(self) -> Ring | None:
        held = self._held
        return None if held is None else held.ring

    def owns(self, key: ResourceKey) -> bool:
        """Return whether the ring in force gives us the key; also while we may not act."""
        held = self._held
        return held is not None and not self._leaving and held.owns(key)

    def term(self, key: ResourceKey) -> int | None:
        """Return the epoch under which we may act on the key this very moment; None: not ours, or not now."""
        held = self._held
        if held is None or self._leaving or not held.owns(key) or self._was_frozen():
            return None
        return held.ring.epoch

    def refused(self) -> None:
        """Somebody has heard of a newer epoch than ours: look at once."""
        self._hurry.set()

    # Life

    def start(self) -> None:
        self.pulse()
        for thread in self._threads:
            thread.start()

    def first_look(self, within_s: float) -> bool:
        """Wait for the first pass; False when it takes longer."""
        return self._first.wait(within_s)

    def leave(self, wait_s: float = 1.0) -> None:
        """Own nothing from now on, and have the others take over at once. Does not wait for work that still runs.

        A pass under way is waited for, at most `wait_s`: its beat would have us among the living once more.
        """
        with self._lock:
            if self._leaving:
                return
            self._leaving = True
        alone = self._passing.acquire(timeout=wait_s)
        try:
            self._coordinator.leave()
            newest = self._rings.newest()
            if newest is not None and self.me in newest.members and len(newest.members) > 1:
                rest = without(newest, self.me.name)
                ring = Ring(epoch=max(newest.epoch + 1, int(self._clock.wall())), members=rest.members)
                self._rings.append(ring, newest.epoch, self.me.name, f"{self.me.name} left")
        except AstaraError as error:
            _log.warning("cluster.left-unheard", reason=str(error), remedy="others take over when the lease ends")
        finally:
            if alone:
                self._passing.release()

    def stop(self, wait_s: float = 5.0) -> None:
        """End the threads; `leave` comes first."""
        self._stopping.set()
        self._hurry.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(wait_s)
        self._coordinator.close()

    def look(self) -> float:
        """Make one pass; returns in how many seconds to make the next. One that has left makes none."""
        with self._passing:
            if not self._leaving:
                self._look()
        self._first.set()
        return self._options.beat_s

    def _look(self) -> None:
        began = self._clock.now()
        present = self._beat(began)
        newest, readable = self._newest()
        if present is not None and readable and self.me in present and not self._leaving:
            newest = self._succeed(newest, present, began)
        if newest is not None:
            self._adopt(newest)
        with self._lock:
            if self._frozen_at is not None and began >= self._frozen_at:
                self._frozen_at = None

    def pulse(self) -> None:
        """Note that the process runs."""
        with self._lock:
            self._feel_gap(self._clock.now())

    def standing(self) -> Standing:
        """Return how it goes."""
        frozen = self._was_frozen()
        return Standing(self.me, self.ring, self._present, self._coordination, self._records, frozen, self._pauses)

    # One pass

    def _beat(self, now: float) -> frozenset[Member] | None:
        try:
            present = self._coordinator.beat()
        except AstaraError as error:
            if self._answers_since is not None:
                _log.warning("cluster.coordinator-away", reason=str(error), remedy=error.remedy)
            self._answers_since, self._coordination = None, str(error)
            return None
        if self._answers_since is None:
            _log.info("cluster.coordinator-answers", members=sorted(member.name for member in present))
            self._answers_since = now
        self._present, self._coordination = present, ""
        return present

    def _newest(self) -> tuple[Ring | None, bool]:
        try:
            newest = self._rings.newest()
        except AstaraError as error:
            if not self._records:
                _log.warning("cluster.rings-unreadable", reason=str(error), remedy=error.remedy)
            self._records = str(error)
            return None, False
        self._records = ""
        return newest, True

    def _succeed(self, newest: Ring | None, present: frozenset[Member], now: float) -> Ring | None:
        """Append the ring that should follow; whoever loses the race reads the winner's."""
        settling = self._answers_since is None or now - self._answers_since < self._options.lease_s
        ring = successor(
            newest, present, settling=settling, wall=self._clock.wall(), heard=max(self.epoch, self._heard)
        )
        if ring is None:
            return newest
        why = reason(newest, ring)
        try:
            won = self._rings.append(ring, 0 if newest is None else newest.epoch, self.me.name, why)
            if won:
                _log.info("cluster.ring", epoch=ring.epoch, why=why, members=[member.name for member in ring.members])
            return self._rings.newest()
        except AstaraError as error:
            self._records = str(error)
            return newest

    def _adopt(self, newest: Ring) -> None:
        held = self._held
        if held is not None and newest.epoch <= held.ring.epoch:
            return  # a table restored from an old copy: what we know is newer
        self._held = _Held(newest, self.me)
        if self.me not in newest.members:
            _log.warning("cluster.not-in-the-ring", epoch=newest.epoch, me=str(self.me))
        self.moved()

    # The pulse

    def _was_frozen(self) -> bool:
        with self._lock:
            self._feel_gap(self._clock.now())
            return self._frozen_at is not None

    def _feel_gap(self, now: float) -> None:
        if now - self._pulse > self._options.frozen_s:
            self._frozen_at = now
            self._pauses += 1
            self._hurry.set()
        self._pulse = now

    def _feel(self) -> None:
        while not self._stopping.wait(self._options.frozen_s / 3):
            self.pulse()

    def _pass(self) -> None:
        while not self._stopping.is_set():
            wait_s = self._options.beat_s
            try:
                wait_s = self.look()
            except Exception:  # noqa: BLE001 - without this thread we would own for ever what others took; logged
                _log.exception("cluster.pass-crashed")
                self._crashed("membership")
            if self._hurry.wait(wait_s):
                self._hurry.clear()
                self._stopping.wait(self._options.beat_s / 6)  # a storm of refusals is one look
