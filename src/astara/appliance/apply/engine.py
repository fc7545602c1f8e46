"""Whole desired document in, configured and read back, or nothing changed."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from astara.appliance.apply import store
from astara.appliance.apply.errors import ApplyFailed
from astara.appliance.apply.wish import Wish, judge_envelope, wish_of
from astara.appliance.boundaries import Appliance, Place, Standing, Subsystem, SubsystemError, Unhurried
from astara.appliance.system import netns, rtnetlink
from astara.contract.agent import ApplyReport, Deviation, Health, Outcome, Role, StateView
from astara.contract.codec import ContractError
from astara.contract.document import Document
from astara.model.errors import Gone, Stale

#: How many deviations a failure's message names; all of them are in its `deviations`.
_NAMED = 3


@dataclass(slots=True)
class _Memory:
    """What the engine keeps of one place between calls: wishes and counters, never the state of the world."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    good: Wish | None = None
    looked: bool = False  # whether `good` has been read from the disk since the agent started
    repairs: int = 0
    last_error: str | None = None


class Engine:
    """Applies documents to places. Safe to call from many threads; calls for one place take turns.

    `subsystems` in dependency order: each may rely on the ones before it. Removal runs in reverse.
    """

    def __init__(
        self,
        subsystems: Sequence[Subsystem],
        appliances: Mapping[str, Appliance],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._subsystems = tuple(subsystems)
        self._appliances = dict(appliances)
        self._monotonic = monotonic
        self._places: dict[str, _Memory] = {}

    def apply(self, place: Place, document: Document) -> ApplyReport:
        """Make `document` the state of `place`.

        Raises:
            ContractError, Stale, SubsystemError(phase="check"), StorageUnavailable, Gone: nothing was touched.
            ApplyFailed: something was touched; the last good document has been put back as far as possible.
        """
        began = self._monotonic()
        appliance = judge_envelope(document, self._appliances)
        with self._turn(place) as memory:
            good = self._good(place, memory)
            _refuse_older(document, good)
            if good is not None and _says_the_same(document, good.document) and not self._differences(place, good):
                self._record_generation(place, memory, document, good)
                return self._report(Outcome.UNCHANGED, document, (), began)
            wish = wish_of(place, document, appliance, self._subsystems)
            self._check(place, wish)
            store.stage(place, document)
            touched = self._swap_or_restore(place, memory, wish, good)
            store.commit(place)
            memory.good = wish
            memory.last_error = None
        # Whoever is told that it is configured may end the one that did the same until now.
        for subsystem in self._subsystems:
            if isinstance(subsystem, Unhurried) and subsystem.name in touched:
                subsystem.await_ready(place)
        return self._report(Outcome.APPLIED, document, touched, began)

    def state(self, place: Place) -> StateView:
        """Say what read-back finds. Never answers from memory; raises nothing about the place."""
        with self._turn(place) as memory:
            return self._view(place, memory)

    def role(self, place: Place, within_s: float = 0.0) -> Role | None:
        """Say who this half of a pair is now, from the kernel, at once; None of what is no half, or not there."""
        with self._turn(place) as memory:
            good = self._good(place, memory)
            return self._role(place, good) if good is not None and netns.exists(place.netns) else None

    def repair(self, place: Place) -> StateView:
        """Put the last good document back where the world differs from it, and say what read-back finds then.

        Also what a restarted agent calls for every place it finds: what runs and fits is not touched.
        """
        with self._turn(place) as memory:
            before = self._view(place, memory)
            if before.health is not Health.DEGRADED or memory.good is None:
                return before
            memory.repairs += 1
            try:
                self._swap(place, memory.good, None)
                memory.last_error = None
            except (SubsystemError, OSError) as error:
                memory.last_error = str(error)
            return self._view(place, memory)

    def remove(self, place: Place) -> None:
        """Take everything of ours away from `place` and forget it; absence is success.

        Raises:
            SubsystemError, OSError: something could not be removed; call again.
        """
        with self._turn(place) as memory:
            if netns.exists(place.netns):
                self._remove(place, {subsystem.name for subsystem in self._subsystems})
            else:
                self._remove_daemons(place)
            store.forget(place)
            memory.good, memory.looked = None, False
            self._places.pop(place.instance_id, None)

    @contextmanager
    def _turn(self, place: Place) -> Iterator[_Memory]:
        while True:
            memory = self._places.setdefault(place.instance_id, _Memory())
            with memory.lock:
                if self._places.get(place.instance_id) is not memory:
                    continue  # removed while we waited
                yield memory
                return

    def _good(self, place: Place, memory: _Memory) -> Wish | None:
        """Return the last good wish, from disk on the first call since the agent started."""
        if not memory.looked:
            document = store.read(place)
            if document is not None:
                try:
                    appliance = judge_envelope(document, self._appliances)
                    memory.good = wish_of(place, document, appliance, self._subsystems)
                except (ContractError, SubsystemError) as error:
                    memory.last_error = f"the kept document is not understood any more: {error}"
            memory.looked = True
        return memory.good

    def _check(self, place: Place, wish: Wish) -> None:
        if not netns.exists(place.netns):
            raise Gone(f"instance {place.instance_id} has no namespace", "create the instance again, then push")
        with rtnetlink.one_look():
            self._check_each(place, wish)

    def _check_each(self, place: Place, wish: Wish) -> None:
        for subsystem in self._subsystems:
            if subsystem.name in wish.rendered:
                subsystem.check(place, wish.rendered[subsystem.name])

    def _swap_or_restore(self, place: Place, memory: _Memory, wish: Wish, good: Wish | None) -> tuple[str, ...]:
        try:
            touched = self._swap(place, wish, good)
            deviations = self._differences(place, wish)
            reason = "; ".join(f"{found.subsystem}: {found.detail}" for found in deviations[:_NAMED])
        except Exception as error:  # a subsystem of somebody else's raises what it likes: the last good goes back
            reason = str(error) or type(error).__name__
            raise self._failure(place, memory, wish, good, reason, (), _remedy(place, error)) from error
        if deviations:
            reason = f"read-back differs from what was applied: {reason}"
            raise self._failure(place, memory, wish, good, reason, deviations)
        return touched

    def _failure(
        self,
        place: Place,
        memory: _Memory,
        wish: Wish,
        good: Wish | None,
        reason: str,
        deviations: Sequence[Deviation],
        remedy: str = "",
    ) -> ApplyFailed:
        """Put the last good document back and return what to raise."""
        store.discard(place)
        memory.last_error = reason
        try:
            if good is None:
                self._remove(place, set(wish.rendered))
                restored = True
            else:
                self._swap(place, good, wish)
                restored = not self._differences(place, good)
        except (SubsystemError, OSError) as error:
            memory.last_error = f"{reason}; restoring failed too: {error}"
            restored = False
        return ApplyFailed(reason, deviations, restored=restored, remedy=remedy)

    def _swap(self, place: Place, wish: Wish, previous: Wish | None) -> tuple[str, ...]:
        """Apply in order; what `wish` has no config for goes first. Returns the names that were touched."""
        with rtnetlink.one_look():
            return self._swap_each(place, wish, previous)

    def _swap_each(self, place: Place, wish: Wish, previous: Wish | None) -> tuple[str, ...]:
        names = {subsystem.name for subsystem in self._subsystems}
        gone = names if previous is None else set(previous.rendered)
        self._remove(place, gone - set(wish.rendered))
        before = {} if previous is None else previous.rendered
        touched = [name for name in before if name not in wish.rendered]
        for subsystem in self._subsystems:
            name = subsystem.name
            if name in wish.rendered and subsystem.apply(place, wish.rendered[name], before.get(name)):
                touched.append(name)
        return tuple(touched)

    def _remove(self, place: Place, names: set[str]) -> None:
        for subsystem in reversed(self._subsystems):
            if subsystem.name in names:
                subsystem.remove(place)

    def _remove_daemons(self, place: Place) -> None:
        """The kernel's tables went with the namespace; subsystems that have processes or files still clear them."""
        for subsystem in reversed(self._subsystems):
            try:
                subsystem.remove(place)
            except netns.NetnsGone:
                continue

    def _differences(self, place: Place, wish: Wish) -> tuple[Deviation, ...]:
        try:
            with netns.entered(place.netns), rtnetlink.one_look():
                return self._differences_each(place, wish)
        except netns.NetnsGone as error:
            return (Deviation(subsystem="namespace", detail=str(error)),)

    def _differences_each(self, place: Place, wish: Wish) -> tuple[Deviation, ...]:
        found: list[Deviation] = []
        for subsystem in self._subsystems:
            if subsystem.name not in wish.rendered:
                continue
            try:
                found.extend(subsystem.read_back(place, wish.rendered[subsystem.name]))
            except (SubsystemError, OSError) as error:
                found.append(Deviation(subsystem=subsystem.name, detail=str(error)))
        return tuple(found)

    def _record_generation(self, place: Place, memory: _Memory, document: Document, good: Wish) -> None:
        if document.generation != good.document.generation:
            store.stage(place, document)
            store.commit(place)
            memory.good = Wish(document, good.rendered)

    def _view(self, place: Place, memory: _Memory) -> StateView:
        good = self._good(place, memory)
        if not netns.exists(place.netns):
            lost = "the network namespace is gone"
            return StateView(health=Health.FAILED, repairs=memory.repairs, last_error=lost)
        if good is None:
            return StateView(health=Health.UNCONFIGURED, repairs=memory.repairs, last_error=memory.last_error)
        deviations = self._differences(place, good)
        return StateView(
            health=Health.DEGRADED if deviations else Health.HEALTHY,
            generation=good.document.generation,
            driver=good.document.driver,
            digest=good.document.digest,
            deviations=deviations,
            repairs=memory.repairs,
            last_error=memory.last_error,
            role=self._role(place, good),
        )

    def _role(self, place: Place, wish: Wish) -> Role | None:
        for subsystem in self._subsystems:
            if isinstance(subsystem, Standing) and subsystem.name in wish.rendered:
                return subsystem.role(place, wish.rendered[subsystem.name])
        return None

    def _report(self, outcome: Outcome, document: Document, touched: tuple[str, ...], began: float) -> ApplyReport:
        return ApplyReport(
            outcome=outcome,
            digest=document.digest,
            generation=document.generation,
            touched=touched,
            duration_ms=round((self._monotonic() - began) * 1000, 3),
        )


def _refuse_older(document: Document, good: Wish | None) -> None:
    if good is not None and document.generation < good.document.generation:
        raise Stale(
            f"generation {document.generation} is older than the applied {good.document.generation}",
            "look at the resource again before pushing",
        )


def _says_the_same(document: Document, kept: Document) -> bool:
    return document.driver == kept.driver and document.digest == kept.digest and document.contract == kept.contract


def _remedy(place: Place, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"free space below {place.files}, then push again"
    return error.remedy if isinstance(error, SubsystemError) else ""
