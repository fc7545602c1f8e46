"""Questions to the database whose failure somebody waits for: it becomes Retry, in the database's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from astara.model.errors import BadConfiguration, Retry
from astara.records.database import Database, words

_REMEDY = "check that the database runs and answers; see `astara db check`"


class Asking:
    """`prepare` brings the schema up where that is ours to do."""

    def __init__(self, database: Database, prepare: Callable[[], None]) -> None:
        self.database = database
        self._prepare = prepare

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Raises Retry, but for a row that is there already: IntegrityError."""
        try:
            self._prepare()
            with self.database.engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except (SQLAlchemyError, OSError, BadConfiguration) as error:
            raise Retry(f"{self.database.name} does not answer: {words(error)}", _REMEDY) from None
