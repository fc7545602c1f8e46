"""Where the records are: a file of SQLite's, or MariaDB or MySQL for several orchestrators."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.exc import ArgumentError

from astara.model.errors import BadConfiguration

#: How long a statement waits for somebody else's lock, in seconds.
LOCK_WAIT_S = 2.0
#: A network database that is away must not hold up an operator's request, nor the end of the process.
_CONNECT_S, _ANSWER_S = 3, 10
#: Firewalls and MariaDB's own wait_timeout forget idle connections.
_IDLE_S = 600
_OPTION = "[database] connection"
_FORMS = "write mysql+pymysql://USER:PASSWORD@HOST/DATABASE or sqlite:////PATH, or leave it out"
_DRIVERS = {
    "sqlite": "sqlite",
    "mysql": "mysql+pymysql",
    "mysql+pymysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "mariadb+pymysql": "mariadb+pymysql",
}


def locate(connection: str | None, state_dir: Path) -> sa.URL:
    """Return the URL of the option's text, None: of the file in `state_dir`.

    Raises BadConfiguration, without repeating the text: there may be a password in it.
    """
    if not connection:
        return sa.URL.create("sqlite", database=str(state_dir / "records.sqlite"))
    try:
        url = sa.make_url(connection)
    except (ArgumentError, ValueError):
        raise BadConfiguration(f"{_OPTION} is not a database URL", _FORMS) from None
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise BadConfiguration(f"{_OPTION}: {url.drivername} is not supported", _FORMS)
    if not url.database or url.database == ":memory:":
        raise BadConfiguration(f"{_OPTION} names no database", _FORMS)
    return url.set(drivername=driver)


class Database:
    """One database; nothing is opened before it is used. Thread-safe."""

    def __init__(self, url: sa.URL) -> None:
        self.file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        #: For messages: never with a password.
        self.name = str(self.file or url.render_as_string(hide_password=True))
        self.engine = _sqlite(url) if self.file is not None else _network(url)

    def close(self) -> None:
        """Let go of every connection that nobody uses; a later use connects again."""
        self.engine.dispose()

    @property
    def shared(self) -> bool:
        """Whether other orchestrators may write to it too."""
        return self.file is None

    def exists(self) -> bool:
        """Return False where there is no file yet; a network database is there until it says otherwise."""
        return self.file is None or self.file.exists()

    def upsert(
        self, table: sa.Table, values: Mapping[str, Any], change: Mapping[str, Any] | None = None
    ) -> sa.Executable:
        """Return the statement that inserts a row, or changes the one with the same primary key.

        `change` may be in terms of what is there; default: to what would have been inserted.
        """
        rest = change or {name: value for name, value in values.items() if not table.c[name].primary_key}
        if self.file is not None:
            keys = [column.name for column in table.primary_key]
            return sqlite.insert(table).values(**values).on_conflict_do_update(index_elements=keys, set_=rest)
        return mysql.insert(table).values(**values).on_duplicate_key_update(**rest)


def words(error: Exception) -> str:
    """Return the database's own words; never the statement's values, nor its URL."""
    return str(getattr(error, "orig", None) or error)


def _sqlite(url: sa.URL) -> sa.Engine:
    made = sa.create_engine(url, connect_args={"timeout": LOCK_WAIT_S})
    sa.event.listen(made, "connect", _on_sqlite)
    return made


def _on_sqlite(connection: Any, _record: Any) -> None:
    # Readers never wait for the writer; a crash of the machine may lose the last lines, never the file.
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _network(url: sa.URL) -> sa.Engine:
    # Strict: what does not fit is refused, never cut short in silence.
    session = f"SET SESSION sql_mode='STRICT_TRANS_TABLES', innodb_lock_wait_timeout={LOCK_WAIT_S:.0f}"
    return sa.create_engine(
        url,
        connect_args={
            "connect_timeout": _CONNECT_S,
            "read_timeout": _ANSWER_S,
            "write_timeout": _ANSWER_S,
            "charset": "utf8mb4",
            "init_command": session,
        },
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_recycle=_IDLE_S,
        pool_timeout=_CONNECT_S,
    )
