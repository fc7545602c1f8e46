"""What was done, written in batches by a thread of its own: a database that is away holds up nobody."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from astara.model.errors import BadConfiguration, Retry
from astara.model.operator import AuditLine, AuditQuery, HistoryLine
from astara.model.resource import ResourceKey
from astara.records import lines
from astara.records.database import Database, words
from astara.records.lines import Keep, Row
from astara.records.outage import Outage

_log = structlog.get_logger(__name__)
_QUEUE_LIMIT = 2000
_RETRY_S = 5.0
#: How long lines wait for company: a burst of reconciles becomes one transaction.
_GATHER_S = 0.2
#: So often what is too old goes, also while nothing happens, in seconds.
_PRUNE_S = 600.0
_AWAY = (SQLAlchemyError, OSError, BadConfiguration)


class History:
    """`prepare` makes what is missing of the database, `failed` hears what went wrong, `wall` gives seconds."""

    def __init__(
        self,
        database: Database,
        outage: Outage,
        prepare: Callable[[], None],
        failed: Callable[[str, Exception], None],
        wall: Callable[[], float],
        keep: Keep,
    ) -> None:
        self._database = database
        self._outage = outage
        self._prepare = prepare
        self._failed = failed
        self._wall = wall
        self._keep = keep
        self._changed = threading.Condition()
        self._queue: deque[Row] = deque(maxlen=_QUEUE_LIMIT)
        self._writing: tuple[Row, ...] = ()
        self._batches = 0
        self._lost = self._lost_before = 0  # in all, and before the present outage
        self._unpruned = keep.lines  # by others, or before us
        self._pruned_at = 0.0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)

    @property
    def waiting(self) -> int:
        """How many lines are not written yet."""
        with self._changed:
            return len(self._queue) + len(self._writing)

    @property
    def lost(self) -> int:
        """How many lines were lost since the start."""
        return self._lost

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self, wait_s: float) -> None:
        """Write what is queued, at most for `wait_s`; says how much could not be."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(wait_s)
        if (lost := self.waiting) > 0:
            _log.error("records-lines-lost", lines=lost, remedy="end an orchestrator while its database answers")

    def answered(self) -> None:
        """The database answered somebody else: with nothing left to write, an outage is over."""
        if self._outage.because is not None and not self.waiting:
            self._over()

    def append(self, key: ResourceKey | None, line: HistoryLine) -> None:
        """Queue a line; when writing fails for long, the oldest queued ones are dropped."""
        row = lines.row(key, line)
        with self._changed:
            self._lost += len(self._queue) == _QUEUE_LIMIT
            self._queue.append(row)
            self._changed.notify_all()

    def asked(self, query: AuditQuery) -> Sequence[AuditLine]:
        """Return the newest lines asked for, oldest first, queued ones included; raises Retry."""
        try:
            return self._asked(query)
        except SQLAlchemyError as error:
            self._failed("history", error)
            raise Retry(f"{self._database.name} cannot be read: {words(error)}", self._outage.remedy) from None

    def of(self, key: ResourceKey, limit: int) -> Sequence[HistoryLine]:
        """Return a resource's newest lines; what is queued, when the others cannot be read."""
        query = AuditQuery(resource=str(key), limit=limit)
        try:
            found = self.asked(query)
        except Retry:
            found = self._queued(query)[0]
        return [line.alone() for line in found]

    def _asked(self, query: AuditQuery) -> Sequence[AuditLine]:
        while True:
            queued, batches = self._queued(query)
            stored = lines.asked(self._database, query)
            with self._changed:
                if batches == self._batches:  # else what was queued may be among what is stored
                    return [*stored, *queued][-query.limit :]

    def _queued(self, query: AuditQuery) -> tuple[list[AuditLine], int]:
        with self._changed:
            rows, batches = [row for row in (*self._writing, *self._queue) if row.fits(query)], self._batches
        return [line for line in (row.read() for row in rows) if line is not None], batches

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing, _PRUNE_S)
                if self._closing and not self._queue:
                    return
                self._changed.wait_for(lambda: self._closing or len(self._queue) >= _QUEUE_LIMIT // 2, _GATHER_S)
                self._writing = tuple(self._queue)
                self._queue.clear()
            if not self._write() and self._put_back():
                return

    def _put_back(self) -> bool:
        """Queue again what could not be written, and wait; return whether to give up, because we are closed."""
        with self._changed:
            kept = (*self._writing, *self._queue)
            self._lost += max(0, len(kept) - _QUEUE_LIMIT)
            self._queue.clear()
            self._queue.extend(kept)  # from the right: the bound then takes the oldest
            self._writing = ()
            return self._closing or self._changed.wait_for(lambda: self._closing, _RETRY_S)

    def _write(self) -> bool:
        try:
            self._prepare()
            if self._writing:
                self._write_all(self._writing)
        except _AWAY as error:
            self._failed("history", error)
            return False
        with self._changed:
            self._unpruned += len(self._writing)
            self._writing = ()
            self._batches += 1
        self._over()
        self._tidy()
        return True

    def _over(self) -> None:
        if self._outage.over(self._lost - self._lost_before):
            self._lost_before = self._lost

    def _write_all(self, rows: Sequence[Row]) -> None:
        """Write them together; if the database takes one of them never, the others all the same."""
        try:
            lines.write(self._database, rows)
        except (DataError, IntegrityError) as error:
            if len(rows) == 1:
                self._lost += 1
                self._failed("history", error)
                return
            for row in rows:
                self._write_all([row])

    def _tidy(self) -> None:
        """Delete what is too old or too much, not after every line: it looks at many."""
        now = self._wall()
        if self._unpruned <= self._keep.lines // 50 and 0 <= now - self._pruned_at < _PRUNE_S:
            return
        try:
            lines.complete(self._database)
            lines.prune(self._database, self._keep, now)
        except SQLAlchemyError as error:
            self._failed("history", error)
            return
        self._unpruned, self._pruned_at = 0, now
