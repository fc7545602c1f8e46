"""Durable records that never stop the engine: a full or locked disk costs history, and says so in the log."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError

from astara.contract.codec import ContractError, decode, encode
from astara.model.errors import BadConfiguration, Retry
from astara.model.operator import HistoryLine
from astara.model.resource import ResourceKey
from astara.records.schema import BODIES, HISTORY, HOLDS, METADATA, TERM, engine

_log = structlog.get_logger(__name__)

_QUEUE_LIMIT = 2000
_RETRY_S = 5.0
#: How long lines wait for company: a burst of reconciles becomes one transaction.
_GATHER_S = 0.2
_UNREADABLE = (
    "make it readable, or put back a copy; else move it away together with its -wal and -shm: then no resource is held "
    "any more or has a body of its own, and `astara hold` and `astara move` must say again which do"
)
_REMEDY = "check free space and permissions of the state directory"


class SqliteRecords:
    """Implements reconcile.boundaries.Records. `open` first, `close` last; the constructor does no I/O.

    History is written by a thread of its own in batches; the newest `history_limit` lines are kept.
    """

    def __init__(self, path: Path, wall: Callable[[], float], *, history_limit: int = 50_000) -> None:
        self._path = path
        self._wall = wall
        self._history_limit = history_limit
        self._engine = engine(path)
        self._changed = threading.Condition()
        self._queue: deque[tuple[str, bytes]] = deque(maxlen=_QUEUE_LIMIT)
        self._writing: tuple[tuple[str, bytes], ...] = ()
        self._dropped = 0
        self._failing = False
        self._prepared = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)

    def open(self) -> None:
        """Prepare the file and start writing; a file that cannot be written is logged, not raised.

        Raises BadConfiguration when the file is there and its holds cannot be read, see `holds`.
        """
        try:
            self._prepare()
        except (SQLAlchemyError, OSError) as error:
            self._note_failure("open", error)
        self.holds()
        self._thread.start()

    def close(self, wait_s: float = 5.0) -> None:
        """Write what is queued, at most for `wait_s`, and let go of the file."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(wait_s)
        self._engine.dispose()

    def next_term(self) -> int:
        """Return a greater term than ever before.

        It is at least the wall clock's seconds: were the file lost and terms to begin at 1 again, every agent
        would refuse us as stale for ever.
        """
        wall = int(self._wall())
        try:
            self._prepare()
            with self._engine.begin() as connection:
                connection.exec_driver_sql("UPDATE term SET value = value WHERE id = 1")  # takes the write lock first
                stored = connection.execute(sa.select(TERM.c.value)).scalar() or 0
                term = max(stored + 1, wall)
                statement = insert(TERM).values(id=1, value=term)
                connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_={"value": term}))
        except (SQLAlchemyError, OSError) as error:
            self._note_failure("next_term", error)
            return wall
        return term

    def holds(self) -> dict[ResourceKey, str]:
        """Return every hold; none where there is no file yet.

        Raises BadConfiguration when there is one and it cannot be read. Somebody has said "hands off", and we no longer
        know of what: to start all the same would undo what he is at, and what runs goes on running without us.
        """
        return self._said("which resources operators hold", HOLDS, HOLDS.c.reason)

    def hold(self, key: ResourceKey, reason: str) -> None:
        """Make a hold durable; raises Retry."""
        statement = insert(HOLDS).values(key=str(key), reason=reason, at=self._wall())
        self._must(statement.on_conflict_do_update(index_elements=["key"], set_={"reason": reason}))

    def release(self, key: ResourceKey) -> None:
        """Remove a hold; raises Retry."""
        self._must(sa.delete(HOLDS).where(HOLDS.c.key == str(key)))

    def bodies(self) -> dict[ResourceKey, str]:
        """Return every body an operator chose; raises like `holds`: guessing would move what runs."""
        return self._said("which bodies operators chose", BODIES, BODIES.c.body)

    def choose_body(self, key: ResourceKey, body: str) -> None:
        """Make a choice durable; raises Retry."""
        statement = insert(BODIES).values(key=str(key), body=body)
        self._must(statement.on_conflict_do_update(index_elements=["key"], set_={"body": body}))

    def forget_body(self, key: ResourceKey) -> None:
        """Remove a choice; raises Retry."""
        self._must(sa.delete(BODIES).where(BODIES.c.key == str(key)))

    def append(self, key: ResourceKey, line: HistoryLine) -> None:
        """Queue a line; when writing fails for long, the oldest queued ones are dropped."""
        with self._changed:
            self._dropped += len(self._queue) == _QUEUE_LIMIT
            self._queue.append((str(key), encode(line)))
            self._changed.notify_all()

    def history(self, key: ResourceKey, limit: int = 100) -> Sequence[HistoryLine]:
        """Return the newest lines, oldest first, queued ones included."""
        name = str(key)
        with self._changed:
            queued = [line for of, line in (*self._writing, *self._queue) if of == name]
        try:
            with self._engine.connect() as connection:
                newest = sa.select(HISTORY.c.line).where(HISTORY.c.key == name).order_by(HISTORY.c.id.desc())
                stored = list(connection.execute(newest.limit(limit)).scalars())[::-1]
        except SQLAlchemyError as error:
            self._note_failure("history", error)
            stored = []
        return [line for line in map(_decoded, (*stored, *queued)) if line is not None][-limit:]

    def _said(self, what: str, table: sa.Table, column: sa.Column[str]) -> dict[ResourceKey, str]:
        """Read what operators said of resources; raises BadConfiguration."""
        try:
            if not self._path.exists() or not sa.inspect(self._engine).has_table(table.name):
                return {}
            with self._engine.connect() as connection:
                rows = connection.execute(sa.select(table.c.key, column)).all()
            return {ResourceKey.parse(key): said for key, said in rows}
        except (SQLAlchemyError, OSError, ValueError) as error:
            self._engine.dispose()
            words = str(getattr(error, "orig", None) or error)
            raise BadConfiguration(f"{self._path}: {what} cannot be read: {words}", _UNREADABLE) from None

    def _prepare(self) -> None:
        """Make what is missing of file and tables; asked for once, and again after a failure or when the file went."""
        if self._prepared and self._path.exists():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        METADATA.create_all(self._engine)
        self._prepared = True

    def _must(self, statement: sa.Executable) -> None:
        try:
            self._prepare()
            with self._engine.begin() as connection:
                connection.execute(statement)
        except (SQLAlchemyError, OSError) as error:
            self._note_failure("hold", error)
            raise Retry(f"{self._path} cannot be written: in force until a restart only", _REMEDY) from None

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
            with self._engine.begin() as connection:
                connection.execute(sa.insert(HISTORY), [{"key": key, "line": line} for key, line in self._writing])
                newest = sa.select(sa.func.max(HISTORY.c.id)).scalar_subquery()
                connection.execute(sa.delete(HISTORY).where(HISTORY.c.id <= newest - self._history_limit))
        except (SQLAlchemyError, OSError) as error:
            self._note_failure("history", error)
            return False
        with self._changed:
            self._writing = ()
        if self._failing:
            _log.info("records-writable-again", path=str(self._path), lines_lost=self._dropped)
            self._failing, self._dropped = False, 0
        return True

    def _note_failure(self, operation: str, error: Exception) -> None:
        # Once per outage, not once per line; the database's own words, never the statement's values.
        self._prepared = False
        if not self._failing:
            words = str(getattr(error, "orig", None) or error)
            _log.error("records-failing", operation=operation, path=str(self._path), error=words, remedy=_REMEDY)
        self._failing = True


def _decoded(line: bytes) -> HistoryLine | None:
    try:
        return decode(line, HistoryLine)
    except ContractError:
        return None  # written by another version
