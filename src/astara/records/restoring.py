"""A copy of a SQLite file put back: what operators said is the copy's, terms go on from the greatest known."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from astara.model.errors import BadConfiguration, Gone, Terminal
from astara.model.resource import ResourceKey
from astara.records import migrating, said, terms
from astara.records.database import Database, words
from astara.records.schema import BODIES, HOLDS

#: Beside the file while it is written, and what was there before.
_COMING, _BEFORE = ".restoring", ".before"
_BESIDE = ("-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Restored:
    """What changed by it. `unsaid` and `said_again`: holds and bodies of what was there, and of the copy, alone.

    `before` is where the file that was there is now; None when there was none. `readable`: whether it could be asked.
    """

    term: int
    before: Path | None
    readable: bool
    unsaid: Mapping[ResourceKey, str] = field(default_factory=dict)
    said_again: Mapping[ResourceKey, str] = field(default_factory=dict)


def restore(database: Database, copy: Path) -> Restored:
    """Put `copy` in the place of the database's file. Nobody else may have it open.

    Cut off at any moment, the file is the one before or the copy, whole; the same call may be made again.

    Raises Gone when there is no such copy, Terminal for a network database, a copy this version cannot use, or a file
    that somebody has open.
    """
    if database.file is None:
        raise Terminal(f"{database.name} is no file", "load the dump with its own tools, then `astara db upgrade`")
    if not copy.exists():
        raise Gone(f"{copy}: there is no such file", "name one that `astara db backup` made")
    coming = database.file.with_name(database.file.name + _COMING)
    shutil.copyfile(copy, coming)
    coming.chmod(0o600)
    _give(coming, like=database.file if database.file.exists() else database.file.parent)
    with_copy = Database(sa.URL.create("sqlite", database=str(coming)))
    try:
        back = _ready(with_copy, copy)
        known = _read(database)
        term = terms.raise_to(with_copy, max(known[0] if known is not None else 0, terms.greatest(with_copy)))
        _fold(with_copy)
    except BaseException:
        with_copy.close()
        for name in ("", *_BESIDE):
            coming.with_name(coming.name + name).unlink(missing_ok=True)
        raise
    before = _take_place(database, coming)
    there = {} if known is None else known[1]
    return Restored(
        term=term,
        before=before,
        readable=known is not None,
        unsaid={key: words for key, words in there.items() if back.get(key) != words},
        said_again={key: words for key, words in back.items() if there.get(key) != words},
    )


def _give(file: Path, like: Path) -> None:
    """Root restores what an orchestrator under an account of its own has to open."""
    owner = like.stat()
    if os.geteuid() == 0:
        os.chown(file, owner.st_uid, owner.st_gid)


def _ready(database: Database, copy: Path) -> dict[ResourceKey, str]:
    """Bring the copy to this version's schema, and read it; raises Terminal when it is none of ours."""
    remedy = "name a file that `astara db backup` made, by this version or an earlier one"
    try:
        if migrating.standing(database).found is None:
            raise Terminal(f"{copy} has no schema of Astara's", remedy)
        migrating.upgrade(database)
        return _said(database)
    except (SQLAlchemyError, ValueError) as error:
        raise Terminal(f"{copy}: {words(error)}", remedy) from None
    except BadConfiguration as error:
        raise Terminal(f"{copy}: {error}", error.remedy) from None


def _read(database: Database) -> tuple[int, dict[ResourceKey, str]] | None:
    """Return the greatest term of what is there, and what it says, and fold it; None when it cannot be asked.

    Raises Terminal when it can be asked and not folded: what it is asked later may be less than what it says now.
    """
    try:
        if not database.exists() or migrating.standing(database).found is None:
            return None
        found = terms.greatest(database), _said(database)
    except (SQLAlchemyError, OSError, ValueError):
        return None
    try:
        _fold(database)
    except (SQLAlchemyError, OSError) as error:
        raise Terminal(
            f"{database.name} cannot be replaced: {words(error)}", "close whatever has it open; instances run on"
        ) from None
    return found


def _said(database: Database) -> dict[ResourceKey, str]:
    """Return holds and bodies in words."""
    held = {key: f"held: {reason}" for key, reason in said.read(database, HOLDS, HOLDS.c.reason).items()}
    bodies = {key: f"in body {body}" for key, body in said.read(database, BODIES, BODIES.c.body).items()}
    return {
        key: "; ".join(filter(None, (held.get(key), bodies.get(key))))
        for key in sorted(held.keys() | bodies.keys(), key=str)
    }


def _fold(database: Database) -> None:
    """Have the file alone be all of it, on the disk, with nobody's journal beside it; raises SQLAlchemyError."""
    assert database.file is not None
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("PRAGMA journal_mode=DELETE")
    database.close()
    with database.file.open("rb") as written:
        os.fsync(written.fileno())


def _take_place(database: Database, coming: Path) -> Path | None:
    """Put the file in its place, keep what was there. A journal left beside another file would be played into that."""
    assert database.file is not None
    file, before = database.file, None
    database.close()
    if file.exists():
        before = file.with_name(file.name + _BEFORE)
        for name in _BESIDE:  # of a file that could not be folded
            before.with_name(before.name + name).unlink(missing_ok=True)
            if (beside := file.with_name(file.name + name)).exists():
                beside.replace(before.with_name(before.name + name))
        before.unlink(missing_ok=True)
        os.link(file, before)
    coming.replace(file)
    return before
