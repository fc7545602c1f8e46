"""An ordinary start finds its schema without Alembic, and whoever finds another asks who knows more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from astara.records import heads, migrating
from astara.records.database import Database, locate


def test_the_name_of_the_newest_migration_is_the_head() -> None:
    assert heads.head() == migrating.head() != ""


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE alembic_version SET version_num = '0000'",
        "INSERT INTO alembic_version VALUES ('9999')",
        "DELETE FROM alembic_version",
        "DROP TABLE alembic_version",
    ],
)
def test_only_exactly_this_schema_is_current(tmp_path: Path, statement: str) -> None:
    database = Database(locate(None, tmp_path))
    assert not heads.is_current(database)
    assert not (tmp_path / "records.sqlite").exists()  # asking makes nothing
    migrating.upgrade(database)
    assert heads.is_current(database)
    with database.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert not heads.is_current(database)
    database.engine.dispose()


def test_a_start_that_finds_its_schema_does_not_load_alembic(tmp_path: Path) -> None:
    code = f"""
import pathlib, sys, time
from astara.records.database import locate
from astara.records.store import StoredRecords
records = StoredRecords(locate(None, pathlib.Path({str(tmp_path)!r})), time.time)
records.open()
records.next_term()
records.close()
print("alembic" in sys.modules)
"""
    for loaded in ("True", "False"):
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
        assert done.stdout.split()[-1] == loaded
