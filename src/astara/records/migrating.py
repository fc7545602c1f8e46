"""Bringing a database to this version's schema, and judging whether it is there.

Alembic does the work, and is imported for that alone: a start that finds all as it should be does without its 12 MB.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
import structlog

from astara.model.errors import BadConfiguration
from astara.records import migrations
from astara.records.database import Database
from astara.records.schema import COMPATIBILITY

_log = structlog.get_logger(__name__)
_SCRIPTS = Path(migrations.__file__).parent
#: Alembic's own table.
_VERSION = sa.table("alembic_version", sa.column("version_num", sa.String))
#: Alembic's context is a global of the process.
_alone = threading.Lock()
#: How long one upgrade waits for another that is under way, in seconds.
_TURN_S = 60
_UPGRADE = "run `astara db upgrade`; orchestrators that run go on running meanwhile"


@dataclass(frozen=True, slots=True)
class Standing:
    """A database's revision beside ours. `found` is None where no migration ever ran.

    `oldest` is the oldest revision whose version may work with it, as its newest migration said.
    """

    found: str | None
    ours: str
    known: bool
    oldest: str | None

    @property
    def current(self) -> bool:
        """It is exactly ours."""
        return self.found == self.ours

    @property
    def newer(self) -> bool:
        """A newer version was here (or a stranger, who has no `oldest`)."""
        return self.found is not None and not self.known

    @property
    def usable(self) -> bool:
        """This version can work with it as it is."""
        return self.current or (self.newer and self.oldest is not None and self.oldest <= self.ours)


def head() -> str:
    """Return the revision of this version."""
    return max(revisions())


def revisions() -> frozenset[str]:
    """Return those of this version: scripts are named by them, `r0001_first.py`."""
    return frozenset(script.name[1:5] for script in (_SCRIPTS / "versions").glob("r[0-9][0-9][0-9][0-9]_*.py"))


def standing(database: Database) -> Standing:
    """Ask the database, without making the file; raises SQLAlchemyError."""
    if not database.exists():
        return Standing(None, head(), known=False, oldest=None)
    with database.engine.connect() as connection:
        return _standing(connection)


def _standing(connection: sa.Connection) -> Standing:
    there = sa.inspect(connection)
    found = oldest = None
    if there.has_table(_VERSION.name):
        rows = connection.execute(sa.select(_VERSION.c.version_num)).scalars().all()
        found = " and ".join(sorted(rows)) or None  # several are a stranger's
    if there.has_table(COMPATIBILITY.name):
        oldest = connection.execute(sa.select(COMPATIBILITY.c.oldest)).scalar()
    return Standing(found, head(), found in revisions(), oldest)


def refuse_unusable(database: Database) -> Standing:
    """Return the standing; raises BadConfiguration when this version cannot work with it, SQLAlchemyError."""
    return _usable(standing(database), database)


def _usable(judged: Standing, database: Database) -> Standing:
    if judged.usable:
        return judged
    if judged.newer:
        raise BadConfiguration(
            f"{database.name} has schema {judged.found}, newer than this version's {judged.ours}, or not Astara's",
            "start the version that upgraded it, put back the backup from before, or name a database of its own",
        )
    raise BadConfiguration(
        f"{database.name} has schema {judged.found or 'none'}, this version needs {judged.ours}", _UPGRADE
    )


def upgrade(database: Database) -> Standing:
    """Bring it to our schema, one process at a time, and return how it stood before. Running orchestrators go on.

    Raises BadConfiguration when it is newer, SQLAlchemyError when it cannot be written: then it is as before, or, on
    MariaDB, half way, and the same call goes on from there.
    """
    if (judged := standing(database)).current:
        return judged  # without a lock: somebody who writes now holds nobody up
    with _alone, database.engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        with _turn(database, connection):
            before = _standing(connection)
            if before.newer:
                return _usable(before, database)
            if not before.current:
                _run(connection)
                _log.info("records-upgraded", database=database.name, before=before.found, now=before.ours)
    return before


def _run(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    command.upgrade(config, "head")


@contextmanager
def _turn(database: Database, connection: sa.Connection) -> Iterator[None]:
    """Hold the lock that every upgrade takes. SQLite's holds the whole upgrade together too."""
    if not database.shared:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")
        return
    lock = sa.func.concat("astara-", sa.func.database())  # a server may hold several deployments
    if connection.execute(sa.select(sa.func.get_lock(lock, _TURN_S))).scalar() != 1:
        raise BadConfiguration(f"{database.name}: another upgrade is under way", "wait until it has ended")
    try:
        yield
    finally:
        connection.execute(sa.select(sa.func.release_lock(lock)))
