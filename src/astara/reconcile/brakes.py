"""The brake in use: judged from the ledger's silent ones, released by their answers or by the operator."""

from __future__ import annotations

import threading

import structlog

from astara.model.boundaries import Clock
from astara.planning.brake import Brake, judge
from astara.planning.policy import BrakePolicy
from astara.reconcile.ledger import Ledger

_log = structlog.get_logger(__name__)


class BrakeKeeper:
    """Thread-safe. Judging costs nothing while nobody is silent."""

    def __init__(self, ledger: Ledger, clock: Clock, policy: BrakePolicy) -> None:
        self._ledger = ledger
        self._clock = clock
        self._policy = policy
        self._lock = threading.Lock()
        self._brake = Brake()

    def judged(self) -> Brake:
        """Return the brake as of now."""
        silent, total = self._ledger.silent()
        with self._lock:
            before = self._brake
            if not silent and not before.engaged:
                return before
            self._brake = judge(before, silent, total, self._clock.now(), self._policy)
            after = self._brake
        if before.engaged != after.engaged:
            _log.warning(
                "brake-engaged" if after.engaged else "brake-released", reason=after.reason, silent=len(silent)
            )
        return after

    def release(self) -> None:
        """The operator says that what is silent now is really dead."""
        with self._lock:
            self._brake = self._brake.released(self._clock.now())
        _log.warning("brake-released", reason="operator")
