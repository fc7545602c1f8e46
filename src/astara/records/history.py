"""What was done, written in batches by a thread of its own: a database that is away holds up nobody."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from astara.contract.codec import ContractError, decode, encode
from astara.model.errors import BadConfiguration
from astara.model.operator import HistoryLine
from astara.model.resource import ResourceKey
from astara.records.database import Database
from astara.records.outage import Outage
from astara.records.schema import HISTORY

_QUEUE_LIMIT = 2000
_RETRY_S = 5.0
#: How long lines wait for company: a burst of reconciles becomes one transaction.
_GATHER_S = 0.2


class History:
    """The newest `limit` lines of all resources together. `prepare` makes what is missing of the database."""

    def __init__(self, database: Database, outage: Outage, prepare: Callable[[], None], limit: int) -> None:
        self._database = database
        self._outage = outage
        self._prepare = prepare
        self._limit = limit
        self._changed = threading.Condition()
        self._queue: deque[tuple[str, bytes]] = deque(maxlen=_QUEUE_LIMIT)
        self._writing: tuple[tuple[str, bytes], ...] = ()
        self._dropped = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self, wait_s: float) -> None:
        """Write what is queued, at most for `wait_s`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def append(self, key: ResourceKey, line: HistoryLine) -> None:
        """Queue a line; when writing fails for long, the oldest queued ones are dropped."""
        with self._changed:
            self._dropped += len(self._queue) == _QUEUE_LIMIT
            self._queue.append((str(key), encode(line)))
            self._changed.notify_all()

    def of(self, key: ResourceKey, limit: int) -> Sequence[HistoryLine]:
        """Return the newest lines, oldest first, queued ones included."""
        name = str(key)
        with self._changed:
            queued = [line for of, line in (*self._writing, *self._queue) if of == name]
        try:
            with self._database.engine.connect() as connection:
                newest = sa.select(HISTORY.c.line).where(HISTORY.c.key == name).order_by(HISTORY.c.id.desc())
                stored = list(connection.execute(newest.limit(limit)).scalars())[::-1]
        except SQLAlchemyError as error:
            self._outage.note("history", error)
            stored = []
        return [line for line in map(_decoded, (*stored, *queued)) if line is not None][-limit:]

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing, _RETRY_S)
                if self._closing and not self._queue:
                    return
                self._changed.wait_for(lambda: self._closing or len(self._queue) >= _QUEUE_LIMIT // 2, _GATHER_S)
                self._writing = tuple(self._queue)
                self._queue.clear()
            if self._writing and not self._write():
                with self._changed:
                    kept = (*self._writing, *self._queue)
                    self._dropped += max(0, len(kept) - _QUEUE_LIMIT)
                    self._queue.clear()
                    self._queue.extend(kept)  # from the right: the bound then takes the oldest
                    self._writing = ()
                    if self._closing or self._changed.wait_for(lambda: self._closing, _RETRY_S):
                        return

    def _write(self) -> bool:
        try:
            self._prepare()
            with self._database.engine.begin() as connection:
                connection.execute(sa.insert(HISTORY), [{"key": key, "line": line} for key, line in self._writing])
                newest = sa.select(sa.func.max(HISTORY.c.id)).scalar_subquery()
                connection.execute(sa.delete(HISTORY).where(HISTORY.c.id <= newest - self._limit))
        except (SQLAlchemyError, OSError, BadConfiguration) as error:
            self._outage.note("history", error)
            return False
        with self._changed:
            self._writing = ()
        if self._outage.over(self._dropped):
            self._dropped = 0
        return True


def _decoded(line: bytes) -> HistoryLine | None:
    try:
        return decode(line, HistoryLine)
    except ContractError:
        return None  # written by another version
