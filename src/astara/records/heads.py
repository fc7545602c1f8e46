"""Whether a database has this version's schema already, asked without Alembic, which takes long to import.

Nearly every start finds it so; everything else, and every judgement, is `records.migrating`'s.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from astara.records import migrations
from astara.records.database import Database

_VERSIONS = Path(migrations.__file__).parent / "versions"


def head() -> str:
    """Return the revision of this version: files of migrations are called rREVISION_WORDS.py."""
    revisions = [path.stem[1:].partition("_")[0] for path in _VERSIONS.glob("r[0-9]*_*.py")]
    return max(revisions, default="")


def is_current(database: Database) -> bool:
    """Return False also when it cannot be told: whoever looks closer says why."""
    if not database.exists():
        return False
    try:
        with database.engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()
    except SQLAlchemyError:
        return False
    return found == [head()]
