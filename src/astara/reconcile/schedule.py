"""When the looks at everything are due, and the one thread that makes them."""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable

import structlog

from astara.model.boundaries import Clock
from astara.model.errors import AstaraError
from astara.planning.backoff import Failure, FailureKind, delay_s
from astara.reconcile.boundaries import Metrics
from astara.reconcile.options import EngineOptions
from astara.reconcile.resync import JournalTruncated, Looks

_log = structlog.get_logger(__name__)


#: While Neutron does not answer it is asked this often, with one call of constant cost, whether it does again.
ALIVE_EVERY_S = 1.0
#: More full looks than this within the window, as a flapping feed asks for, wait until the window has passed.
FULL_AT_ONCE = 3
FULL_WINDOW_S = 60.0
_NEVER = float("inf")


class Kind(enum.StrEnum):
    ALIVE = "alive"  # first: with its answer the others are due
    FULL = "full"
    CHANGES = "changes"
    DRIFT = "drift"


class Schedule:
    """A full look comes first; until one has succeeded there is nothing the others could compare with.

    A look that fails is tried again with back-off and never silences the others. While Neutron does not answer,
    that alone is asked in short turns; with its first answer everything that waited for it is due.
    """

    def __init__(
        self,
        looks: Looks,
        clock: Clock,
        options: EngineOptions,
        random_value: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._looks = looks
        self._metrics = metrics
        self._clock = clock
        self._random_value = random_value
        self._jitter = options.jitter
        self._backoff = options.policy.backoff
        self._every_s = {
            Kind.ALIVE: ALIVE_EVERY_S,
            Kind.FULL: options.full_resync_s,
            Kind.CHANGES: options.changes_poll_s,
            Kind.DRIFT: options.drift_look_s,
        }
        self._changed = threading.Condition()
        self._due: dict[Kind, float] = {Kind.ALIVE: _NEVER}
        self._asked_alive_at = -_NEVER
        self._away = False
        self._hopeful = False
        self._fulls: deque[float] = deque(maxlen=FULL_AT_ONCE)
        self._failures: dict[Kind, int] = {}
        self._based = False
        self._full_at: float | None = None
        self._error = ""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="resync", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, wait_s: float) -> bool:
        """Return whether the thread ended within `wait_s`, or never began."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(wait_s)
        return not self._thread.is_alive()

    def request_full(self, reason: str) -> None:
        """Have everything looked at now; several requests before it begins are one, and a storm of them is spaced."""
        with self._changed:
            self._due[Kind.FULL] = min(self._due_at(Kind.FULL), self._full_allowed_at())
            self._changed.notify_all()
        _log.info("resync-requested", reason=reason)

    def came_back(self, reason: str) -> None:
        """Something was away: look at everything, and let nothing wait any longer that waited for it."""
        with self._changed:
            self._hopeful = True
        self.request_full(reason)

    def doubt(self) -> None:
        """Somebody could not look: ask soon whether Neutron answers at all."""
        with self._changed:
            soonest = max(self._clock.now(), self._asked_alive_at + ALIVE_EVERY_S)
            if soonest < self._due[Kind.ALIVE]:
                self._due[Kind.ALIVE] = soonest
                self._changed.notify_all()

    def _full_allowed_at(self) -> float:
        now = self._clock.now()
        full = len(self._fulls) == FULL_AT_ONCE
        return max(now, self._fulls[0] + FULL_WINDOW_S) if full else now

    def wake(self) -> None:
        """Have the thread look at the clock again."""
        with self._changed:
            self._changed.notify_all()

    @property
    def full_at(self) -> float | None:
        """Wall seconds of the last full look that succeeded."""
        return self._full_at

    @property
    def error(self) -> str:
        """Why the last look at Neutron failed; empty when it did not."""
        return self._error

    def run_due(self) -> float:
        """Make every look that is due; returns the seconds until the next one."""
        for kind in Kind:
            if self._due_at(kind) <= self._clock.now():
                self._make(kind)
        with self._changed:
            next_at = min(map(self._due_at, Kind))
        return max(0.0, next_at - self._clock.now())

    def _due_at(self, kind: Kind) -> float:
        compares = kind in (Kind.CHANGES, Kind.DRIFT)
        return _NEVER if compares and not self._based else self._due.get(kind, 0.0)

    def _make(self, kind: Kind) -> None:
        with self._changed:
            now = self._clock.now()
            # Set before looking, so that a request that arrives meanwhile is not lost.
            self._due[kind] = now + self._every_s[kind] * (1.0 - self._jitter * self._random_value())
            hopeful = self._hopeful and kind is Kind.FULL
            if kind is Kind.FULL:
                self._fulls.append(now)
                self._hopeful = False
            elif kind is Kind.ALIVE:
                self._asked_alive_at = now
        if hopeful:
            self._looks.hope()
        try:
            getattr(self._looks, kind.value)()
        except JournalTruncated as error:
            self.request_full(str(error))
        except AstaraError as error:
            self._failed(kind, str(error), error.remedy)
        except Exception:  # noqa: BLE001 - the net under everything must outlive a bug; logged with its traceback
            _log.exception("resync-crashed", look=kind.value)
            self._metrics.crashed("resync")
            self._failed(kind, "internal error, see the log", "")
        else:
            self._succeeded(kind)

    def _succeeded(self, kind: Kind) -> None:
        self._failures.pop(kind, None)
        if kind is Kind.ALIVE:
            self._answers()
            return
        if kind is Kind.FULL:
            self._based, self._full_at = True, self._clock.wall()
        if kind is not Kind.DRIFT:
            self._error = ""

    def _answers(self) -> None:
        """Neutron answers. That is news only if it did not before: else other troubles would be hurried for ever."""
        with self._changed:
            self._due[Kind.ALIVE] = _NEVER
            was_away, self._away = self._away, False
            if was_away:
                now = self._clock.now()
                self._due |= {kind: now for kind in (Kind.FULL, Kind.CHANGES) if kind in self._failures}
        if was_away:
            _log.info("neutron-answers-again", queued=self._looks.hope())

    def _failed(self, kind: Kind, message: str, remedy: str) -> None:
        if kind is Kind.ALIVE:
            self._away = True  # the look that raised the doubt has said why
            return
        if kind is not Kind.DRIFT:
            self.doubt()
        failures = self._failures.get(kind, 0)
        self._failures[kind] = failures + 1
        wait_s = delay_s(failures, Failure(FailureKind.RETRY, message), self._backoff, self._random_value())
        with self._changed:
            self._due[kind] = min(self._due[kind], self._clock.now() + wait_s)
        if kind is not Kind.DRIFT:
            self._error = message
        _log.warning("resync-failed", look=kind.value, error=message, remedy=remedy, again_in_s=round(wait_s, 1))

    def _run(self) -> None:
        while not self._stopping:
            wait_s = self.run_due()
            with self._changed:
                if not self._stopping and wait_s > 0 and min(self._due.values()) > self._clock.now():
                    self._changed.wait(wait_s)
