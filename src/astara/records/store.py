"""Durable records that never stop the engine: a database that is full, locked or away costs history, and says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from astara.model.errors import BadConfiguration, Retry
from astara.model.operator import AuditLine, AuditQuery, HistoryLine
from astara.model.resource import ResourceKey
from astara.records import claims, migrating, said, terms
from astara.records.asking import Asking
from astara.records.database import Database, words
from astara.records.history import History
from astara.records.lines import Keep
from astara.records.outage import Outage
from astara.records.rings import StoredRings
from astara.records.schema import BODIES, HOLDS
from astara.records.upgrades import StoredUpgrades

_UNREADABLE = {
    False: (
        "make it readable, or put back a copy; else move it away together with its -wal and -shm: then no resource is "
        "held any more or has a body of its own, and `astara hold` and `astara move` must say again which do"
    ),
    True: "see that the database runs and takes our user and password: `astara db check` says what is wrong",
}
_AWAY = (SQLAlchemyError, OSError, BadConfiguration)


@dataclass(frozen=True, slots=True)
class RecordsStanding:
    """How the database does. `trouble`: in its own words. `waiting` lines are not written yet, `lost` ones never."""

    name: str
    shared: bool
    trouble: str | None
    remedy: str
    waiting: int
    lost: int


class StoredRecords:
    """Implements reconcile.boundaries.Records. `open` first, `close` last; the constructor does no I/O.

    History is written by a thread of its own in batches. `wall` gives seconds since the epoch.
    """

    def __init__(self, url: sa.URL, wall: Callable[[], float], keep: Keep | None = None) -> None:
        self._wall = wall
        self._database = Database(url)
        self._outage = Outage(self._database)
        self._history = History(self._database, self._outage, self._prepare, self._note_failure, wall, keep or Keep())
        self._prepared = False
        self.asking = Asking(self._database, self._prepare)
        self.rings = StoredRings(self.asking, wall)
        self.upgrades = StoredUpgrades(self.asking, wall)

    def open(self) -> None:
        """Prepare a file, judge a network database, and start writing.

        A file that cannot be written is logged, not raised.

        Raises:
            BadConfiguration: the schema is not one this version can work with; or holds cannot be read, see `holds`.
        """
        try:
            self._prepare()
        except (SQLAlchemyError, OSError) as error:
            self._note_failure("open", error)
        except BadConfiguration:
            self._database.close()
            raise
        self.holds()
        self._history.start()

    def close(self, wait_s: float = 5.0) -> None:
        """Write what is queued, at most for `wait_s`, and let go of the database."""
        self._history.close(wait_s)
        self._database.close()

    def next_term(self) -> int:
        """Return a greater term than ever before.

        It is at least the wall clock's seconds: were the records lost and terms to begin at 1 again, every agent
        would refuse us as stale for ever. When a file cannot be written, the clock alone has to do.

        Raises BadConfiguration when a network database cannot be written: somebody else could take the same term.
        """
        wall_s = int(self._wall())
        try:
            self._prepare()
            return terms.next_term(self._database, wall_s)
        except (SQLAlchemyError, OSError) as error:
            self._note_failure("next_term", error)
            if self._database.shared:
                raise BadConfiguration(
                    f"{self._database.name} cannot be written: {words(error)}", self._outage.remedy
                ) from None
            return wall_s

    def holds(self) -> dict[ResourceKey, str]:
        """Return every hold; none where there is no file yet.

        Raises BadConfiguration when there is one and it cannot be read. Somebody has said "hands off", and we no longer
        know of what: to start all the same would undo what he is at, and what runs goes on running without us.
        """
        return self._said("which resources operators hold", HOLDS, HOLDS.c.reason)

    def hold(self, key: ResourceKey, reason: str) -> None:
        """Make a hold durable; raises Retry."""
        self._must(self._database.upsert(HOLDS, {"key": str(key), "reason": reason, "at": self._wall()}))

    def release(self, key: ResourceKey) -> None:
        """Remove a hold; raises Retry."""
        self._must(sa.delete(HOLDS).where(HOLDS.c.key == str(key)))

    def bodies(self) -> dict[ResourceKey, str]:
        """Return every body an operator chose; raises like `holds`: guessing would move what runs."""
        return self._said("which bodies operators chose", BODIES, BODIES.c.body)

    def choose_body(self, key: ResourceKey, body: str) -> None:
        """Make a choice durable; raises Retry."""
        self._must(self._database.upsert(BODIES, {"key": str(key), "body": body}))

    def forget_body(self, key: ResourceKey) -> None:
        """Remove a choice; raises Retry."""
        self._must(sa.delete(BODIES).where(BODIES.c.key == str(key)))

    def revision(self) -> int:
        """Return a number that changes whenever a hold or a body does, whoever said it; raises Retry.

        0: nothing was ever said, or the records were lost.
        """
        try:
            self._prepare()
            found = said.revision(self._database)
        except _AWAY as error:
            self._note_failure("revision", error)
            raise Retry(f"{self._database.name} cannot be read: {words(error)}", self._outage.remedy) from None
        self._history.answered()
        return found

    def claim(self, key: ResourceKey, slot: str, term: int) -> None:
        """Note who makes an instance; raises Stale, Retry."""
        claims.claim(self.asking, key, slot, term, self._wall())

    def append(self, key: ResourceKey | None, line: HistoryLine) -> None:
        """Queue a line; when writing fails for long, the oldest queued ones are dropped."""
        self._history.append(key, line)

    def history(self, key: ResourceKey, limit: int = 100) -> Sequence[HistoryLine]:
        """Return the newest lines, oldest first, queued ones included."""
        return self._history.of(key, limit)

    def audit(self, query: AuditQuery) -> Sequence[AuditLine]:
        """Return the newest lines asked for, oldest first, queued ones included; raises Retry."""
        return self._history.asked(query)

    def standing(self) -> RecordsStanding:
        """Say how it goes, from memory."""
        return RecordsStanding(
            name=self._database.name,
            shared=self._database.shared,
            trouble=self._outage.because,
            remedy=self._outage.remedy,
            waiting=self._history.waiting,
            lost=self._history.lost,
        )

    def trouble(self) -> str | None:
        """Ask the database now; return what is wrong, None when nothing is."""
        if not self._database.exists():
            return "the file is gone; it is made anew, without what operators said, when there is something to write"
        try:
            migrating.refuse_unusable(self._database)
        except SQLAlchemyError as error:
            return words(error)
        except BadConfiguration as error:
            return str(error)
        return None

    def _said(self, what: str, table: sa.Table, column: sa.Column[str]) -> dict[ResourceKey, str]:
        """Read what operators said of resources; raises BadConfiguration."""
        database = self._database
        try:
            return said.read(database, table, column)
        except (SQLAlchemyError, OSError, ValueError) as error:
            database.close()
            reason = f"{database.name}: {what} cannot be read: {words(error)}"
            raise BadConfiguration(reason, _UNREADABLE[database.shared]) from None

    def _prepare(self) -> None:
        """Make what is missing of file and tables; asked for once, and again after a failure or when the file went."""
        if self._prepared and self._database.exists():
            return
        if self._database.file is not None:
            self._database.file.parent.mkdir(parents=True, exist_ok=True)
            migrating.upgrade(self._database)
        else:
            migrating.refuse_unusable(self._database)
        self._prepared = True

    def _must(self, statement: sa.Executable) -> None:
        try:
            self._prepare()
            said.change(self._database, statement)
        except _AWAY as error:
            self._note_failure("hold", error)
            raise Retry(
                f"{self._database.name} cannot be written: in force until a restart only", self._outage.remedy
            ) from None

    def _note_failure(self, operation: str, error: Exception) -> None:
        self._prepared = False
        self._outage.note(operation, error)
