from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from astara.model.errors import BadConfiguration, Retry
from astara.model.operator import AuditQuery, HistoryLine
from astara.model.resource import ResourceKey
from astara.records.database import locate
from astara.records.lines import Keep
from astara.records.store import StoredRecords
from support.segment import eventually

DAY_S = 86400.0
R1, R2 = ResourceKey("router", "r1"), ResourceKey("router", "r2")


def line(number: int) -> HistoryLine:
    return HistoryLine(at=float(number), reason="test", phase="absent", steps=("create",), outcome="settled")


def person(at: float) -> HistoryLine:
    return HistoryLine(at=at, reason="operator", phase="", steps=("hold",), outcome="done", who="uid 0 (root)")


def records(path: Path, wall: float = 100.0, keep: Keep | None = None) -> StoredRecords:
    made = StoredRecords(locate(None, path.parent), lambda: wall, keep)
    made.open()
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "records.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[StoredRecords]:
    made = records(path)
    yield made
    made.close()


def test_a_hold_survives_a_restart_until_it_is_released(store, path):
    store.hold(R1, "first")
    store.hold(R1, "debugging")
    store.hold(R2, "x")
    store.release(R2)
    store.release(R2)
    store.close()
    again = records(path)
    assert again.holds() == {R1: "debugging"}
    again.close()


def test_the_term_grows_at_every_start_also_when_the_clock_went_back_or_the_file_is_lost(path):
    terms = []
    for wall in (1000.0, 1000.0, 500.0):
        made = records(path, wall)
        terms.append(made.next_term())
        made.close()
    path.unlink()
    made = records(path, 2000.0)
    terms.append(made.next_term())
    made.close()
    assert terms == [1000, 1001, 1002, 2000]


def test_history_is_bounded_newest_kept_oldest_first(path):
    made = records(path, keep=Keep(lines=10))
    for number in range(50):
        made.append(R1, line(number))
    made.close()
    again = records(path)
    assert [int(found.at) for found in again.history(R1)] == list(range(40, 50))
    assert again.history(R2) == []
    again.close()


def test_what_was_just_appended_is_seen(store):
    store.append(R1, line(1))
    assert store.history(R1) == [line(1)]


def test_a_directory_that_cannot_be_written_is_logged_once_and_stops_nothing(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    with capture_logs() as logs:
        made = records(blocked / "records.sqlite")
        assert made.next_term() == 100
        assert made.holds() == {}
        made.append(R1, line(1))
        assert made.history(R1) == [line(1)]
        with pytest.raises(Retry, match="until a restart only"):
            made.hold(R1, "x")
        made.close()
    assert [log["event"] for log in logs] == ["records-failing", "records-lines-lost"]
    assert "free space" in logs[0]["remedy"]


def overwrite(path: Path, table: str) -> None:
    """Destroy the first page of a table."""
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        [size] = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek(((found[0] if found else 1) - 1) * size)
        file.write(b"\xff" * size)


@pytest.mark.parametrize("damage", ["no database", "torn", "a key nobody can read"])
def test_holds_that_cannot_be_read_are_no_reason_to_start_without_them(path, damage):
    made = records(path)
    made.hold(R1, "replacing its uplink by hand")
    made.close()
    if damage == "a key nobody can read":
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE holds SET key = 'r1'")
        connection.close()
    else:
        overwrite(path, "holds" if damage == "torn" else "sqlite_schema")
    with pytest.raises(BadConfiguration, match=str(path)) as refusal:
        records(path)
    assert "astara hold" in refusal.value.remedy


def test_a_corrupt_history_alone_stops_nothing(path):
    made = records(path)
    made.hold(R1, "debugging")
    for number in range(200):
        made.append(R1, line(number))
    made.close()
    overwrite(path, "history")
    again = records(path)
    assert again.holds() == {R1: "debugging"}
    assert again.history(R1) == []
    again.close()


def test_a_locked_file_delays_history_and_loses_none(store, path):
    store.append(R1, line(1))
    store.close()
    rival = sqlite3.connect(path, isolation_level=None)
    rival.execute("BEGIN EXCLUSIVE")
    locked = records(path)
    locked.append(R1, line(2))
    assert line(2) in locked.history(R1)
    rival.execute("COMMIT")
    rival.close()
    locked.close(wait_s=20)
    again = records(path)
    assert [found.at for found in again.history(R1)] == [1.0, 2.0]
    again.close()


def test_when_writing_fails_for_long_the_oldest_lines_go(path, monkeypatch):
    monkeypatch.setattr("astara.records.history._QUEUE_LIMIT", 4)
    busy = StoredRecords(locate(None, path.parent), lambda: 100.0)

    def fail_while_more_arrives():
        for number in (2, 3, 4, 5):
            busy.append(R1, line(number))
        return False

    monkeypatch.setattr(busy._history, "_write", fail_while_more_arrives)
    busy.open()
    busy.append(R1, line(1))
    assert eventually(lambda: [found.at for found in busy.history(R1)] == [2.0, 3.0, 4.0, 5.0])
    busy.close()


def test_many_threads_may_append_at_once(store, path):
    def work(number: int) -> None:
        for count in range(50):
            store.append(R1, line(number * 100 + count))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    again = records(path)
    assert len(again.history(R1, limit=1000)) == 400
    again.close()


def test_a_line_of_another_version_is_skipped(store, path):
    store.append(R1, line(1))
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO history (key, line) VALUES (?, ?)", (str(R1), b'{"new":1}'))
    connection.close()
    again = records(path)
    assert again.history(R1) == [line(1)]
    again.close()


def test_a_chosen_body_survives_a_restart_until_it_is_taken_back(path):
    made = records(path)
    made.choose_body(R1, "container")
    made.choose_body(R1, "microvm")
    made.choose_body(R2, "container")
    made.forget_body(R2)
    made.close()
    again = records(path)
    assert again.bodies() == {R1: "microvm"}
    again.close()


def test_people_s_lines_outlast_a_storm_of_our_own_and_old_ones_go(path):
    made = records(path, keep=Keep(lines=10), wall=200 * DAY_S)
    made.append(R1, person(199 * DAY_S))
    made.append(R1, person(100 * DAY_S))
    for number in range(50):
        made.append(R1, structs.replace(line(0), at=199 * DAY_S + number, who="orchestrator one"))
    made.close()
    again = records(path)
    found = again.audit(AuditQuery(limit=1000))
    assert [line.at for line in found if line.who == "uid 0 (root)"] == [199 * DAY_S]
    assert [line.at - 199 * DAY_S for line in found if line.who == "orchestrator one"] == list(range(40, 50))
    again.close()


def test_a_password_in_words_is_not_kept_nor_endless_words(path):
    made = records(path)
    told = "cannot reach rabbit://astara:s3cret@broker:5672/ " + "x" * 100_000
    made.append(R1, structs.replace(line(1), detail=told, reason=told, steps=(told,), undone=(told,) * 1000))
    made.close()
    [stored] = sqlite3.connect(path).execute("SELECT line FROM history").fetchone()
    assert b"s3cret" not in stored
    assert b"rabbit://astara:***@broker" in stored
    assert len(stored) < 300_000


def test_an_audit_that_cannot_be_read_is_no_empty_one(path):
    made = records(path)
    made.append(R1, line(1))
    made.close()
    overwrite(path, "history")
    again = records(path)
    with pytest.raises(Retry, match="cannot be read"):
        again.audit(AuditQuery())
    again.close()


def test_a_file_that_is_taken_away_is_made_anew_also_when_somebody_looked_in_between(store, path):
    store.append(R1, line(1))
    assert eventually(lambda: store.standing().waiting == 0)
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    store._database.close()
    assert "gone" in (store.trouble() or "")
    with pytest.raises(Retry):
        store.audit(AuditQuery())
    store.append(R1, line(2))
    assert eventually(lambda: store.standing().waiting == 0, within_s=30.0)
    assert [found.at for found in store.audit(AuditQuery())] == [2.0]
    assert store.trouble() is None
