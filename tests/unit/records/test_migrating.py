"""A schema grows under running orchestrators and is never guessed at."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from click.testing import CliRunner, Result

from astara.admin.session import Session
from astara.model.errors import BadConfiguration, Terminal
from astara.model.resource import ResourceKey
from astara.records import backups, migrating
from astara.records.database import Database, locate
from astara.records.schema import METADATA
from astara.records.store import StoredRecords
from astara.runtime.database_command import db

R1 = ResourceKey("router", "r1")
#: What the versions before there were migrations made, letter by letter.
BEFORE_MIGRATIONS = """
CREATE TABLE holds (key TEXT NOT NULL, reason TEXT NOT NULL, at FLOAT NOT NULL, PRIMARY KEY (key));
CREATE TABLE bodies (key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (key));
CREATE TABLE term (id INTEGER NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (id));
CREATE TABLE history (id INTEGER NOT NULL, "key" TEXT NOT NULL, line BLOB NOT NULL, PRIMARY KEY (id));
CREATE INDEX ix_history_key ON history ("key");
INSERT INTO holds VALUES ('router/r1', 'replacing its uplink by hand', 12.5);
INSERT INTO bodies VALUES ('router/r1', 'container');
INSERT INTO term VALUES (1, 5000000000);
INSERT INTO history (key, line) VALUES ('router/r1',
    '{"at":1.5,"detail":"","duration_ms":2.0,"outcome":"settled","phase":"absent","reason":"resync","steps":["create"]}');
"""


def database(directory: Path) -> Database:
    return Database(locate(None, directory))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Database]:
    made = database(tmp_path)
    migrating.upgrade(made)
    yield made
    made.engine.dispose()


def rewrite(directory: Path, *statements: str) -> None:
    with sqlite3.connect(directory / "records.sqlite") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def asked(directory: Path, *command: str) -> Result:
    file = directory / "astara.conf"
    file.write_text(
        f"[DEFAULT]\nstate_dir = {directory}\n[neutron]\nurl = http://127.0.0.1:1\n[intake]\nfeeds = rabbit\n"
        "transport_url = memory://\n"
    )
    return CliRunner().invoke(db, [*command, "--config-file", str(file)], obj=Session())


@pytest.mark.parametrize("without", [None, "bodies"], ids=["the last one", "one without bodies"])
def test_a_file_from_before_there_were_migrations_is_taken_over_without_loss(tmp_path, without):
    with sqlite3.connect(tmp_path / "records.sqlite") as connection:
        connection.executescript(BEFORE_MIGRATIONS)
        if without is not None:
            connection.execute(f"DROP TABLE {without}")
    connection.close()
    records = StoredRecords(locate(None, tmp_path), lambda: 100.0)
    records.open()
    assert records.holds() == {R1: "replacing its uplink by hand"}
    assert records.bodies() == ({} if without == "bodies" else {R1: "container"})
    assert [line.at for line in records.history(R1)] == [1.5]
    assert records.next_term() == 5000000001
    records.choose_body(R1, "microvm")
    assert records.bodies() == {R1: "microvm"}
    records.close()
    assert migrating.standing(database(tmp_path)).current


def test_the_migrations_make_the_tables_this_version_knows(fresh):
    with fresh.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE alembic_version SET version_num = '0000'",
        "INSERT INTO alembic_version VALUES ('9999')",
        "DELETE FROM alembic_version",
        "DROP TABLE alembic_version",
    ],
)
def test_only_exactly_this_schema_is_current(tmp_path, fresh, statement):
    assert migrating.standing(fresh).current
    rewrite(tmp_path, statement)
    assert not migrating.standing(fresh).current


def test_asking_makes_no_file(tmp_path):
    assert not migrating.standing(database(tmp_path)).usable
    assert asked(tmp_path, "check").exit_code == 1
    assert not (tmp_path / "records.sqlite").exists()


def test_the_scripts_are_one_line_of_numbers_and_named_by_them():
    scripts = ScriptDirectory(str(migrating._SCRIPTS))
    line = [script.revision for script in scripts.walk_revisions()]
    assert line == sorted(migrating.revisions(), reverse=True)
    assert scripts.get_heads() == [migrating.head()]


def test_a_start_that_finds_its_schema_does_without_alembic(tmp_path, fresh):
    script = (
        "import sys; from pathlib import Path; from astara.records.store import StoredRecords\n"
        "from astara.records.database import locate\n"
        "records = StoredRecords(locate(None, Path(sys.argv[1])), lambda: 1.0)\n"
        "records.open(); records.next_term(); records.close()\n"
        "sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=60)


def test_an_upgrade_of_what_is_current_changes_nothing(fresh):
    before = fresh.file.read_bytes()
    assert migrating.upgrade(fresh).current
    assert fresh.file.read_bytes() == before


def _upgrade(directory: Path) -> None:
    migrating.upgrade(database(directory))


@pytest.mark.filterwarnings("ignore:Using fork:DeprecationWarning")  # of eventlet, which Neutron loads in other tests
def test_several_processes_may_upgrade_at_once(tmp_path):
    forked = multiprocessing.get_context("fork")
    upgrades = [forked.Process(target=_upgrade, args=(tmp_path,)) for _ in range(4)]
    for upgrade in upgrades:
        upgrade.start()
    for upgrade in upgrades:
        upgrade.join(30)
    assert [upgrade.exitcode for upgrade in upgrades] == [0] * 4
    assert migrating.standing(database(tmp_path)).current


def test_an_upgrade_that_fails_half_way_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    with sqlite3.connect(tmp_path / "records.sqlite") as connection:
        connection.executescript(BEFORE_MIGRATIONS)
    connection.close()

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", fail)
        with pytest.raises(OSError, match="no space left"):
            migrating.upgrade(database(tmp_path))
    with database(tmp_path).engine.connect() as connection:
        assert not sa.inspect(connection).has_table("compatibility")
    migrating.upgrade(database(tmp_path))
    assert migrating.standing(database(tmp_path)).current


def test_a_newer_schema_is_refused_and_nothing_is_touched(tmp_path, fresh):
    rewrite(tmp_path, "UPDATE alembic_version SET version_num = '9999'", "UPDATE compatibility SET oldest = '9000'")
    before = fresh.file.read_bytes()
    with pytest.raises(BadConfiguration, match=f"{tmp_path}.* schema 9999, newer than this version's") as refusal:
        StoredRecords(locate(None, tmp_path), lambda: 1.0).open()
    assert "backup" in refusal.value.remedy
    assert asked(tmp_path, "check").exit_code == 1
    assert "too new" in asked(tmp_path, "current").output
    assert fresh.file.read_bytes() == before


def test_a_schema_that_was_only_expanded_serves_the_version_before(tmp_path, fresh):
    rewrite(tmp_path, "UPDATE alembic_version SET version_num = '9999'")
    records = StoredRecords(locate(None, tmp_path), lambda: 1.0)
    records.open()
    records.hold(R1, "still obeyed")
    assert records.holds() == {R1: "still obeyed"}
    records.close()
    assert asked(tmp_path, "check").exit_code == 0
    assert migrating.standing(fresh).found == "9999"


def test_a_database_of_somebody_else_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "records.sqlite") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('5c85685d616d')")
    connection.close()
    with pytest.raises(BadConfiguration, match="not Astara's"):
        migrating.upgrade(database(tmp_path))


def test_the_command_shows_upgrades_and_judges(tmp_path):
    assert asked(tmp_path, "check").exit_code == 1
    assert "run `astara db upgrade`" in asked(tmp_path, "current").output
    assert asked(tmp_path, "upgrade").exit_code == 0
    assert asked(tmp_path, "check").exit_code == 0
    assert f'"schema":"{migrating.head()}"' in asked(tmp_path, "current", "--json").output.replace(" ", "")


@pytest.mark.parametrize(
    ("connection", "said"),
    [
        ("mysql+pymysql://astara:s3cret@db", "names no database"),
        ("postgresql://astara:s3cret@db/astara", "postgresql is not supported"),
        ("sqlite://", "names no database"),
        ("mysql:/astara:s3cret@db/astara", "is not a database URL"),
    ],
)
def test_a_connection_that_cannot_be_is_refused_without_its_password(tmp_path, connection, said):
    with pytest.raises(BadConfiguration, match=said) as refusal:
        locate(connection, tmp_path)
    assert "s3cret" not in str(refusal.value) + refusal.value.remedy
    assert "mysql+pymysql://USER" in refusal.value.remedy


def test_a_password_is_never_shown(tmp_path):
    shown = Database(locate("mysql://astara:s3cret@db/astara", tmp_path)).name
    assert shown == "mysql+pymysql://astara:***@db/astara"


def test_a_backup_made_while_the_orchestrator_works_is_a_whole_database(tmp_path):
    records = StoredRecords(locate(None, tmp_path), lambda: 100.0)
    records.open()
    records.hold(R1, "before")
    copy = tmp_path / "copy.sqlite"
    assert asked(tmp_path, "backup", str(copy)).exit_code == 0
    records.hold(R1, "after")
    records.close()
    assert copy.stat().st_mode & 0o077 == 0
    restored = tmp_path / "restored"
    restored.mkdir()
    copy.rename(restored / "records.sqlite")
    again = StoredRecords(locate(None, restored), lambda: 100.0)
    again.open()
    assert again.holds() == {R1: "before"}
    again.close()


def test_a_backup_overwrites_nothing_and_is_for_files(tmp_path, fresh):
    there = tmp_path / "there"
    there.write_text("precious")
    refused = asked(tmp_path, "backup", str(there))
    assert isinstance(refused.exception, Terminal)
    assert there.read_text() == "precious"
    with pytest.raises(Terminal, match="is no file") as of_network:
        backups.copy(Database(locate("mysql://a:b@db/astara", tmp_path)), tmp_path / "x")
    assert "mariadb-dump" in of_network.value.remedy
