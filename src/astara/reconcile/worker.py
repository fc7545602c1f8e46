"""The threads that take work. The one place where an exception nobody foresaw is caught."""

from __future__ import annotations

import threading

import structlog

from astara.reconcile.boundaries import Metrics
from astara.reconcile.inbox import Inbox
from astara.reconcile.reconciler import Reconciler

_log = structlog.get_logger(__name__)

# A bug in one resource's reconcile must neither stop the worker nor loop hot.
_AFTER_A_BUG_S = 60.0
_IDLE_S = 30.0


class Workers:
    """A fixed number of threads; one resource is never in two of them."""

    def __init__(self, inbox: Inbox, reconciler: Reconciler, count: int, metrics: Metrics) -> None:
        self._metrics = metrics
        self._inbox = inbox
        self._reconciler = reconciler
        self._threads = [
            threading.Thread(target=self._run, name=f"worker-{number}", daemon=True) for number in range(count)
        ]
        self._stopping = threading.Event()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, drain_s: float) -> bool:
        """Hand out no more work; True when every running reconcile ended within `drain_s`."""
        self._stopping.set()
        self._inbox.close()
        return self._inbox.drained(drain_s)

    def work_one(self, wait_s: float) -> bool:
        """Take one turn; False when there was nothing to do."""
        work = self._inbox.take(wait_s)
        if work is None:
            return False
        requeue_after_s: float | None = _AFTER_A_BUG_S
        try:
            requeue_after_s = self._reconciler.reconcile(work)
        except Exception:  # noqa: BLE001 - the worker outlives a bug; it is logged with its traceback
            _log.exception("reconcile-crashed", key=str(work.key), reasons=work.reasons)
            self._metrics.crashed("worker")
        finally:
            self._inbox.done(work.key, requeue_after_s)
        return True

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.work_one(_IDLE_S)
