"""Hears of holds, bodies and editions said at another orchestrator, and writes late what could not be written."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from astara.model.errors import BadConfiguration, Retry
from astara.model.resource import ResourceKey
from astara.reconcile.bodies import Bodies
from astara.reconcile.boundaries import Metrics, Records
from astara.reconcile.holds import Holds

_log = structlog.get_logger(__name__)
#: How long a hold said elsewhere may go unheard, in seconds; a look is one row of one table.
POLL_S = 1.0


class Rereading:
    """One thread of its own: a database that does not answer holds up nobody. `changed` is told whose word changed."""

    def __init__(
        self,
        records: Records,
        holds: Holds,
        bodies: Bodies,
        metrics: Metrics,
        changed: Callable[[frozenset[ResourceKey]], None],
    ) -> None:
        self._records = records
        self._holds = holds
        self._bodies = bodies
        self._metrics = metrics
        self._changed = changed
        self._seen: int | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rereading", daemon=True)

    def load(self) -> None:
        """Read everything, at start; raises BadConfiguration when it cannot be known what operators said."""
        try:
            seen = self._records.revision()
        except Retry:
            seen = None  # the first look reads once more
        self._holds.reread()
        self._bodies.reread()
        try:
            self._bodies.editions.reread()
        except Retry:
            seen = None
        self._seen = seen

    def look(self) -> None:
        """Look once whether there is something new. Never raises for a database that is away: what we know stays."""
        try:
            self._holds.write_again()
            self._bodies.write_again()
            revision = self._records.revision()
            if revision == self._seen:
                return
            if revision == 0:
                self._say_again()
                return
            held, housed = self._holds.reread(), self._bodies.reread()
            edited = self._bodies.editions.reread()
        except (Retry, BadConfiguration):
            return  # the records have said so in the log
        if held is not None and housed is not None:
            self._seen = revision
        if keys := (held or frozenset()) | (housed or frozenset()) | edited:
            _log.info("said-elsewhere", keys=sorted(map(str, keys)))
            self._changed(keys)

    def _say_again(self) -> None:
        """Somebody took the records away. What operators said to us is not lost with them."""
        _log.warning("said-again", holds=len(self._holds.all()))
        self._holds.say_again()
        self._bodies.say_again()
        self._seen = 0
        self._holds.write_again()
        self._bodies.write_again()

    def start(self) -> None:
        self._thread.start()

    def stop(self, wait_s: float) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def _run(self) -> None:
        while not self._ended.wait(POLL_S):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - the thread outlives a bug; it is logged with its traceback
                _log.exception("rereading-crashed")
                self._metrics.crashed("rereading")
