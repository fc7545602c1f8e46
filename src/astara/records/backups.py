"""A copy of a SQLite file as it was at one moment, while others write to it."""

from __future__ import annotations

import os
from pathlib import Path

from astara.model.errors import Gone, Terminal
from astara.records.database import Database


def copy(database: Database, to: Path) -> None:
    """Copy the database into a new file that only its owner may read.

    Raises Gone when there is no file, Terminal for a network database or a file that cannot be made, SQLAlchemyError.
    """
    if database.shared:
        raise Terminal(
            f"{database.name} is no file",
            "use its own: mariadb-dump --single-transaction DATABASE >FILE; see operate.md",
        )
    if not database.exists():
        raise Gone(f"{database.name}: there is no such file", "see [database] connection and state_dir")
    try:
        os.close(os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise Terminal(f"{to}: {error.strerror}", "name a new file in a directory you may write to") from None
    try:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (str(to),))
    except BaseException:
        to.unlink(missing_ok=True)
        raise
