"""A backup is put back: terms never go back with it, what operators said is the copy's, and nothing is half done."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from astara.admin.session import Session
from astara.model.cluster import Member, Ring
from astara.model.errors import AstaraError
from astara.model.resource import ResourceKey
from astara.records import restoring
from astara.records.database import Database, locate
from astara.records.store import StoredRecords
from astara.runtime.database_command import db

R1, R2, R3 = (ResourceKey("router", name) for name in ("r1", "r2", "r3"))
#: A clock that was once far ahead: only what is written down knows of it.
AHEAD_S, NOW_S = 5_000_000_000.0, 1_000_000.0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "astara.conf").write_text(
        f"[DEFAULT]\nstate_dir = {tmp_path}\n[neutron]\nurl = http://127.0.0.1:1\n[intake]\nfeeds = rabbit\n"
        f"transport_url = memory://\n[admin]\nsocket = {tmp_path}/admin.sock\n"
    )
    return tmp_path


def asked(home: Path, *command: str, as_json: bool = False) -> Result:
    words = [*command, "--config-file", str(home / "astara.conf")]
    return CliRunner().invoke(db, words, obj=Session(as_json=as_json))


class Opened:
    """Records of one process, by a clock of ours."""

    def __init__(self, home: Path, wall_s: float = NOW_S) -> None:
        self.records = StoredRecords(locate(None, home), lambda: wall_s)

    def __enter__(self) -> StoredRecords:
        self.records.open()
        return self.records

    def __exit__(self, *exception: object) -> None:
        self.records.close()


@pytest.fixture
def copy(home: Path) -> Path:
    """A backup from the day before: r1 held, r2 in a container. Since then r1 was released, r3 held, r2 moved again."""
    made = home / "backup.sqlite"
    with Opened(home) as records:
        records.next_term()
        records.hold(R1, "yesterday")
        records.choose_body(R2, "container")
        assert asked(home, "backup", str(made)).exit_code == 0
        records.release(R1)
        records.choose_body(R2, "microvm")
        records.hold(R3, "today")
    return made


def test_terms_go_on_from_the_greatest_ever_although_the_copy_is_older(home, copy):
    with Opened(home, AHEAD_S) as records:
        before = records.next_term()
    assert asked(home, "restore", str(copy)).exit_code == 0
    with Opened(home) as records:
        assert records.next_term() > before


def test_terms_go_on_above_the_epochs_of_rings_too(home, copy):
    with Opened(home) as records:
        records.rings.append(Ring(epoch=int(AHEAD_S), members=(Member(name="a", incarnation="1"),)), 0, "a", "")
    assert asked(home, "restore", str(copy)).exit_code == 0
    with Opened(home) as records:
        assert records.next_term() > AHEAD_S


def test_it_is_refused_while_somebody_looks_into_the_file_and_terms_go_on_afterwards(home, copy):
    """An open `sqlite3` keeps the journal from being folded into the file."""
    with Opened(home, AHEAD_S) as records:
        before = records.next_term()
    looking = sqlite3.connect(home / "records.sqlite")
    try:
        looking.execute("SELECT * FROM holds").fetchall()
        refused = asked(home, "restore", str(copy))
    finally:
        looking.close()
    assert "close whatever has it open" in refused.exception.remedy
    with Opened(home) as records:
        assert records.holds() == {R3: "today"}
    assert not list(home.glob("*.restoring*"))
    assert asked(home, "restore", str(copy)).exit_code == 0
    with Opened(home) as records:
        assert records.next_term() > before


def test_what_operators_said_is_the_copys_and_they_are_told_what_that_changes(home, copy):
    done = asked(home, "restore", str(copy))
    assert done.exit_code == 0
    with Opened(home) as records:
        assert records.holds() == {R1: "yesterday"}
        assert records.bodies() == {R2: "container"}
    assert set(done.output.splitlines()[2:]) == {
        "said no more: router/r2 in body microvm",
        "said no more: router/r3 held: today",
        "said again: router/r1 held: yesterday",
        "said again: router/r2 in body container",
    }
    told = json.loads(asked(home, "restore", str(copy), as_json=True).output)
    assert (told["unsaid"], told["said_again"]) == ({}, {})
    assert told["before"] == f"{home}/records.sqlite.before"


def test_what_was_there_is_kept_whole_and_can_be_put_back_in_turn(home, copy):
    asked(home, "restore", str(copy))
    assert asked(home, "restore", f"{home}/records.sqlite.before").exit_code == 0
    with Opened(home) as records:
        assert records.holds() == {R3: "today"}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another account")
@pytest.mark.parametrize("there", [True, False], ids=["a file", "no file"])
def test_what_root_restores_is_the_orchestrators(home, copy, there):
    file = home / "records.sqlite"
    if not there:
        file.unlink()
    os.chown(file if there else home, 64_000, 64_001)
    assert asked(home, "restore", str(copy)).exit_code == 0
    assert (file.stat().st_uid, file.stat().st_gid, file.stat().st_mode & 0o777) == (64_000, 64_001, 0o600)


def test_a_file_that_cannot_be_read_is_replaced_and_kept(home, copy):
    file = home / "records.sqlite"
    file.write_bytes(b"no database at all" * 400)
    done = asked(home, "restore", str(copy))
    assert done.exit_code == 0
    assert "records.sqlite.before, which could not be read" in done.output
    with Opened(home) as records:
        assert records.holds() == {R1: "yesterday"}


def test_a_journal_of_what_was_there_is_not_played_into_the_copy(home, copy):
    """A process that was killed leaves one beside its file."""
    script = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA wal_autocheckpoint=0'); "
        "c.execute(\"UPDATE holds SET reason = 'killed'\"); c.commit(); os._exit(0)"
    )
    subprocess.run(["python3", "-c", script, str(home / "records.sqlite")], check=True)
    assert (home / "records.sqlite-wal").stat().st_size > 0
    assert asked(home, "restore", str(copy)).exit_code == 0
    with Opened(home) as records:
        assert records.holds() == {R1: "yesterday"}


@pytest.mark.parametrize("content", [b"no database at all" * 400, b"", None])
def test_what_is_no_copy_of_ours_changes_nothing(home, copy, content):
    other = home / "other.sqlite"
    if content is not None:
        other.write_bytes(content)
    refused = asked(home, "restore", str(other))
    assert isinstance(refused.exception, AstaraError)
    assert refused.exception.remedy
    with Opened(home) as records:
        assert records.holds() == {R3: "today"}
    assert not list(home.glob("*.restoring*"))


def test_a_strangers_database_is_refused(home, copy):
    with sqlite3.connect(home / "other.sqlite") as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    refused = asked(home, "restore", str(home / "other.sqlite"))
    assert "has no schema of Astara's" in str(refused.exception)


def test_cut_off_at_any_moment_the_file_is_the_one_before_or_the_copy(home, copy, monkeypatch):
    """The first move within the file system that fails ends it, then the second, until none does."""
    moves = [(module, name) for module, name in ((restoring.os, "link"), (Path, "replace"), (Path, "unlink"))]
    for after in range(20):
        left = [after]
        with monkeypatch.context() as patched:
            for module, name in moves:
                patched.setattr(module, name, _dying(getattr(module, name), left))
            done = asked(home, "restore", str(copy))
        assert (home / "records.sqlite").exists()
        with Opened(home) as records:
            assert records.holds() in ({R3: "today"}, {R1: "yesterday"})
        if done.exit_code == 0:
            break
    assert after > 2
    assert done.exit_code == 0


def _dying(call, left):
    def dying(*arguments, **named):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return call(*arguments, **named)

    return dying


def test_it_is_refused_while_the_orchestrator_runs(home, copy):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(home / "admin.sock"))
        listening.listen()
        refused = asked(home, "restore", str(copy))
    assert refused.exit_code != 0
    with Opened(home) as records:
        assert records.holds() == {R3: "today"}


def test_terms_can_be_raised_above_one_that_nodes_have_heard_of(home):
    assert asked(home, "upgrade").exit_code == 0
    assert asked(home, "raise-term", str(int(AHEAD_S))).exit_code == 0
    assert asked(home, "raise-term", "17").exit_code == 0, "never lowered"
    with Opened(home) as records:
        assert records.next_term() > AHEAD_S


def test_a_mistyped_term_is_refused(home):
    assert asked(home, "upgrade").exit_code == 0
    assert asked(home, "raise-term", "17952000000000").exit_code == 2
    database = Database(locate(None, home))
    database.close()
