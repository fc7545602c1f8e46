"""What the engine may rely on of its records: of the fake, of a file of SQLite's, of a MariaDB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from astara.model.errors import Stale
from astara.model.operator import AuditQuery, HistoryLine
from astara.model.resource import ResourceKey
from astara.model.upgrade import Edition, Item, Stage, State, UpgradeWish
from astara.planning.rollout import Decision
from astara.reconcile.boundaries import Records
from astara.records import migrating
from astara.records.database import Database, locate
from astara.records.store import StoredRecords
from support.fakes.records import FakeRecords
from support.neutron.mariadb import MariaDB, server

R1, R2 = ResourceKey("router", "r1"), ResourceKey("router", "r2")
_numbers = count()
#: Starts one more process's records on the same database.
Opener = Callable[[], Records]


def line(at: float, who: str = "orchestrator one", outcome: str = "settled", **more: object) -> HistoryLine:
    fields = {"reason": "test", "phase": "absent", "steps": ("create",), **more}
    return HistoryLine(at=at, who=who, outcome=outcome, **fields)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    with server(tmp_path_factory.mktemp("db")) as started:
        yield started


@pytest.fixture(params=["fake", "sqlite", "mariadb"])
def open_records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    if request.param == "fake":
        fake = FakeRecords()
        yield lambda: fake
        return
    connection = None
    if request.param == "mariadb":
        connection = request.getfixturevalue("database").create(f"contract{next(_numbers)}")
        upgraded = Database(locate(connection, tmp_path))
        migrating.upgrade(upgraded)
        upgraded.close()
    opened: list[StoredRecords] = []

    def open_once_more() -> Records:
        records = StoredRecords(locate(connection, tmp_path), lambda: 1000.0)
        records.open()
        opened.append(records)
        return records

    yield open_once_more
    for records in opened:
        records.close()


def end(records: Records) -> None:
    if isinstance(records, StoredRecords):
        records.close()


def test_holds_and_bodies_survive_until_they_are_taken_back(open_records: Opener) -> None:
    first = open_records()
    first.hold(R1, "first")
    first.hold(R1, "replacing its uplink — by hand 🔧")
    first.hold(R2, "x")
    first.release(R2)
    first.release(R2)
    first.choose_body(R1, "container")
    first.choose_body(R1, "microvm")
    first.choose_body(R2, "container")
    first.forget_body(R2)
    end(first)
    again = open_records()
    assert again.holds() == {R1: "replacing its uplink — by hand 🔧"}
    assert again.bodies() == {R1: "microvm"}


def test_keys_that_differ_in_case_alone_are_two_resources(open_records: Opener) -> None:
    records = open_records()
    lower, upper = ResourceKey("router", "a"), ResourceKey("router", "A")
    records.hold(lower, "lower")
    records.hold(upper, "upper")
    records.release(lower)
    assert records.holds() == {upper: "upper"}


def test_terms_only_grow_also_over_restarts(open_records: Opener) -> None:
    terms = []
    for _ in range(3):
        records = open_records()
        terms += [records.next_term(), records.next_term()]
        end(records)
    assert terms == sorted(set(terms))


def test_a_resource_s_history_is_told_oldest_first_and_survives(open_records: Opener) -> None:
    first = open_records()
    for at in (1.0, 2.0, 3.0):
        first.append(R1, line(at))
    first.append(R2, line(9.0))
    first.append(None, line(10.0))
    assert [found.at for found in first.history(R1)] == [1.0, 2.0, 3.0]
    end(first)
    again = open_records()
    assert [found.at for found in again.history(R1)] == [1.0, 2.0, 3.0]
    assert list(again.history(R1)) == [line(1.0), line(2.0), line(3.0)]


WANTED = [
    (AuditQuery(), [1.0, 2.0, 3.0, 4.0]),
    (AuditQuery(limit=2), [3.0, 4.0]),
    (AuditQuery(resource="router/r1"), [1.0, 3.0]),
    (AuditQuery(resource=""), [4.0]),
    (AuditQuery(who="root"), [3.0]),
    (AuditQuery(who="ROOT"), []),
    (AuditQuery(who="%"), []),
    (AuditQuery(outcome="retry"), [2.0]),
    (AuditQuery(since=3.0), [3.0, 4.0]),
    (AuditQuery(resource="router/r1", since=2.0, who="uid", outcome="done"), [3.0]),
    (AuditQuery(resource="router/r3"), []),
]


def test_the_audit_is_asked_by_resource_person_outcome_and_time(open_records: Opener) -> None:
    first = open_records()
    first.append(R1, line(1.0, generation="7.1"))
    first.append(R2, line(2.0, outcome="retry", undone=("push",), detail="busy"))
    first.append(R1, line(3.0, who="uid 0 (root)", outcome="done"))
    first.append(None, line(4.0))
    for query, wanted in WANTED:
        assert [found.at for found in first.audit(query)] == wanted, f"just appended: {query}"
    end(first)
    again = open_records()
    for query, wanted in WANTED:
        assert [found.at for found in again.audit(query)] == wanted, query
    found = again.audit(AuditQuery())[1]
    assert (found.resource, found.undone, found.detail, found.who) == (
        "router/r2",
        ("push",),
        "busy",
        "orchestrator one",
    )


def test_whatever_is_said_at_one_orchestrator_is_heard_of_at_another(open_records: Opener) -> None:
    one, other = open_records(), open_records()
    one.release(R2)
    acts: list[Callable[[], None]] = [
        lambda: one.hold(R1, "x"),
        lambda: one.choose_body(R1, "container"),
        lambda: one.forget_body(R1),
        lambda: one.release(R1),
    ]
    before = other.revision()
    assert other.revision() == before
    for act in acts:
        act()
        assert other.revision() != before
        before = other.revision()


WISH = UpgradeWish(kind="microvm", image="next")
ITEMS = [Item(key, Stage.WAITING, frozenset({"n1"}), 0.0, "next", "first") for key in (R1, R2)]


@pytest.fixture
def stored(open_records: Opener) -> StoredRecords:
    records = open_records()
    assert isinstance(records, StoredRecords)
    return records


#: There is no fake of these tables: tests/scenario/test_upgrade.py simulates whole orchestrators on the real ones.
real_tables = pytest.mark.parametrize("open_records", ["sqlite", "mariadb"], indirect=True)


@real_tables
def test_what_is_begun_is_wished_of_everybody_at_once_and_heard_of(stored: StoredRecords) -> None:
    upgrade = stored.upgrades.begin(WISH, "ann")
    stored.upgrades.collect(upgrade.number, 5, ITEMS, baseline=0.25, known=None)
    stored.upgrades.collect(upgrade.number, 5, (), baseline=0.0, known=())
    before = stored.revision()
    stored.upgrades.advance(upgrade, 5, Decision(begin=(R1,), soak_until=7.5))
    assert stored.revision() != before
    assert stored.upgrades.editions() == {R1: Edition("microvm", upgrade.edition, "next")}
    newest = stored.upgrades.newest()
    assert newest is not None
    assert (newest.collected, newest.baseline, newest.soaked_at, newest.term) == (True, 0.25, 7.5, 5)
    found = [(item.key, item.stage, item.hosts, item.image, item.before) for item in stored.upgrades.items(1)]
    assert found == [
        (R1, Stage.WORK, frozenset({"n1"}), "next", "first"),
        (R2, Stage.WAITING, frozenset({"n1"}), "next", "first"),
    ]


@real_tables
def test_who_decides_under_an_older_term_is_refused_and_changes_nothing(stored: StoredRecords) -> None:
    upgrade = stored.upgrades.begin(WISH, "ann")
    stored.upgrades.collect(upgrade.number, 5, ITEMS, baseline=0.0, known=None)
    stored.upgrades.advance(upgrade, 9, Decision(begin=(R1,)))
    for act in (
        lambda: stored.upgrades.advance(upgrade, 8, Decision(begin=(R2,), state=State.DONE)),
        lambda: stored.upgrades.collect(upgrade.number, 8, (), 0.0, None),
    ):
        with pytest.raises(Stale, match="newer term than 8"):
            act()
    assert [item.stage for item in stored.upgrades.items(1)] == [Stage.WORK, Stage.WAITING]
    newest = stored.upgrades.newest()
    assert newest is not None
    assert newest.state is State.RUNNING


@real_tables
def test_a_pause_that_was_said_first_counts_though_the_decision_did_not_know_of_it(stored: StoredRecords) -> None:
    upgrade = stored.upgrades.begin(WISH, "ann")
    stored.upgrades.collect(upgrade.number, 5, ITEMS, baseline=0.0, known=None)
    stored.upgrades.say(State.PAUSED, "by bob")
    stored.upgrades.advance(upgrade, 5, Decision(begin=(R1,)))
    assert {item.stage for item in stored.upgrades.items(1)} == {Stage.WAITING}
    stored.upgrades.abort("bob", back=False)
    stored.upgrades.advance(upgrade, 5, Decision(state=State.STOPPED, why="late"))
    newest = stored.upgrades.newest()
    assert newest is not None
    assert newest.state is State.ABORTED
