"""Says once that the database fails, and once that it answers again."""

from __future__ import annotations

import threading

import structlog

from astara.records.database import Database, words

_log = structlog.get_logger(__name__)
_FILE_REMEDY = "check free space and permissions of the state directory"
_NETWORK_REMEDY = "check that the database runs and answers; see `astara db check`"


class Outage:
    """Thread-safe. `since` is None while all is well."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._because: str | None = None
        self.remedy = _NETWORK_REMEDY if database.shared else _FILE_REMEDY

    @property
    def because(self) -> str | None:
        """The database's own words; None while it answers."""
        return self._because

    def note(self, operation: str, error: Exception) -> None:
        """Say it once per outage, not once per line; the database's own words, never the statement's values."""
        said = words(error)
        with self._lock:
            first, self._because = self._because is None, said
        if first:
            _log.error("records-failing", operation=operation, path=self._database.name, error=said, remedy=self.remedy)

    def over(self, lines_lost: int) -> bool:
        """Say that it is over, if there was one."""
        with self._lock:
            failed, self._because = self._because is not None, None
        if failed:
            _log.info("records-writable-again", path=self._database.name, lines_lost=lines_lost)
        return failed
