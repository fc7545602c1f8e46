"""Records that several orchestrators share: the database dies under them, is old, half upgraded, or full of others."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from astara.model.boundaries import Event
from astara.model.errors import BadConfiguration, Retry
from astara.model.operator import AuditQuery, HistoryLine
from astara.model.resource import ResourceKey
from astara.providers.memory.cloud import MemoryCloud
from astara.providers.memory.provider import MemoryProvider
from astara.reconcile.clock import SystemClock
from astara.reconcile.engine import Engine
from astara.reconcile.options import EngineOptions
from astara.reconcile.share import SoleOwner
from astara.records import migrating, terms
from astara.records.database import Database, locate
from astara.records.schema import HISTORY, METADATA
from astara.records.store import StoredRecords
from support.builders.resources import router
from support.fakes.drivers import SlottedRouters
from support.fakes.neutron import FakeNeutron
from support.neutron.mariadb import MariaDB, server
from support.segment import eventually

NOWHERE = Path("/nonexistent")
R1, R2 = ResourceKey("router", "r1"), ResourceKey("router", "r2")
EVERYTHING = AuditQuery(limit=10_000)
_numbers = count()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    with server(tmp_path_factory.mktemp("db")) as started:
        yield started


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("astara.records.history._RETRY_S", 0.2)
    monkeypatch.setattr("astara.reconcile.rereading.POLL_S", 0.1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    yield
    structlog.reset_defaults()


@pytest.fixture
def empty(database: MariaDB) -> str:
    return database.create(f"outages{next(_numbers)}")


@pytest.fixture
def there(empty: str) -> Iterator[Database]:
    made = Database(locate(empty, NOWHERE))
    yield made
    made.close()


@pytest.fixture
def url(empty: str, there: Database) -> str:
    migrating.upgrade(there)
    there.close()
    return empty


class Orchestrator:
    """An engine with its threads and its records, on a simulated cloud that others may share."""

    def __init__(self, url: str, name: str, neutron: FakeNeutron, cloud: MemoryCloud) -> None:
        self.neutron = neutron
        self.records = StoredRecords(locate(url, NOWHERE), SystemClock().wall)
        self.records.open()
        self.engine = Engine(
            neutron=neutron,
            drivers={"router": SlottedRouters()},
            providers={"memory": MemoryProvider(cloud), "paper": MemoryProvider(cloud, SystemClock().wall, "paper")},
            records=self.records,
            clock=SystemClock(),
            ownership=SoleOwner(self.records.next_term()),
            options=EngineOptions(workers=2),
            who=f"orchestrator {name}",
        )
        self.engine.start()

    def phases(self) -> dict[str, int]:
        return self.engine.ledger.phases()

    def end(self) -> None:
        self.engine.stop(10.0)
        self.records.close()


@pytest.fixture
def start(url: str) -> Iterator[Callable[..., Orchestrator]]:
    started: list[Orchestrator] = []
    neutron, cloud = FakeNeutron(), MemoryCloud()

    def one(name: str = "one", *routers: str) -> Orchestrator:
        for each in routers:
            neutron.put_router(router(each))
        started.append(Orchestrator(url, name, neutron, cloud))
        return started[-1]

    yield one
    for each in started:
        each.end()


def test_a_database_that_dies_and_comes_back_stops_nothing_and_loses_nothing(
    database: MariaDB, start: Callable[..., Orchestrator]
) -> None:
    one = start("one", "r0", "r1")
    assert eventually(lambda: one.phases() == {"configured": 2})
    one.engine.hold(R1, "said before")
    database.kill()
    try:
        for number in range(2, 40):
            one.neutron.put_router(router(f"r{number}"))
            one.engine.notify(Event("router.create.end", {"router": (f"r{number}",)}))
        assert eventually(lambda: one.phases() == {"configured": 40}), "work goes on without a database"
        held = ResourceKey("router", "r7")
        with pytest.raises(Retry, match="in force until a restart only"):
            one.engine.hold(held, "said meanwhile")
        with pytest.raises(Retry, match="cannot be read"):
            one.engine.audit(EVERYTHING)
        assert one.engine.holds.all() == {R1: "said before", held: "said meanwhile"}
        assert one.engine.history(ResourceKey("router", "r9")), "what is queued is told"
        assert one.records.standing().trouble is not None
        with pytest.raises(BadConfiguration, match="which resources operators hold cannot be read"):
            start("two")
    finally:
        database.start()
    assert eventually(lambda: one.records.standing().waiting == 0, within_s=30.0)
    assert eventually(lambda: one.records.holds() == {R1: "said before", held: "said meanwhile"}, within_s=30.0)
    made = [line.resource for line in one.engine.audit(EVERYTHING) if any("create" in step for step in line.steps)]
    assert sorted(made) == sorted(f"router/r{number}" for number in range(40)), "each once"
    assert one.records.standing().lost == 0
    again = start("again")
    assert again.engine.holds.all() == {R1: "said before", held: "said meanwhile"}
    assert again.engine.audit(EVERYTHING)[0].who == "orchestrator one"


def test_what_is_said_at_one_orchestrator_is_obeyed_by_another(start: Callable[..., Orchestrator]) -> None:
    one, other = start("one", "r1"), start("other")
    assert eventually(lambda: other.phases() == {"configured": 1})
    one.engine.hold(R1, "replacing its uplink")
    assert eventually(lambda: other.engine.holds.reason(R1) == "replacing its uplink")
    one.engine.release(R1)
    assert eventually(lambda: other.engine.holds.reason(R1) is None)
    other.engine.move(R1, "paper")
    assert eventually(lambda: one.engine.bodies.chosen(R1) == "paper")
    assert {line.who for line in one.engine.audit(EVERYTHING)} >= {"orchestrator one"}


def _term(url: str, found: multiprocessing.Queue[int]) -> None:
    records = StoredRecords(locate(url, NOWHERE), lambda: 1000.0)
    for _ in range(10):
        found.put(records.next_term())


@pytest.mark.filterwarnings("ignore:Using fork:DeprecationWarning")  # of eventlet, which Neutron loads in other tests
def test_terms_of_processes_that_start_at_once_are_all_different(url: str) -> None:
    forked = multiprocessing.get_context("fork")
    found: multiprocessing.Queue[int] = forked.Queue()
    processes = [forked.Process(target=_term, args=(url, found)) for _ in range(4)]
    for process in processes:
        process.start()
    terms = [found.get(timeout=30) for _ in range(40)]
    for process in processes:
        process.join(10)
    assert len(set(terms)) == 40


def test_the_migrations_make_the_tables_this_version_knows(url: str, there: Database) -> None:
    with there.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_a_schema_that_is_not_there_yet_is_refused_with_the_command_that_makes_it(empty: str) -> None:
    with pytest.raises(BadConfiguration, match="has schema none") as refusal:
        StoredRecords(locate(empty, NOWHERE), lambda: 1.0).open()
    assert "astara db upgrade" in refusal.value.remedy


def test_an_upgrade_that_was_cut_off_half_way_is_gone_on_with(there: Database) -> None:
    migrating.upgrade(there)
    with there.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
        connection.execute(sa.text("DROP TABLE said"))
        connection.execute(sa.text("ALTER TABLE history DROP COLUMN outcome"))
    migrating.upgrade(there)
    with there.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_an_orchestrator_of_the_version_before_goes_on_writing_and_its_lines_are_found(
    url: str, there: Database
) -> None:
    old = b'{"at":5.0,"detail":"","duration_ms":2.0,"outcome":"retry","phase":"absent","reason":"resync","steps":[]}'
    with there.engine.begin() as connection:
        connection.execute(sa.insert(HISTORY), {"key": "router/r1", "line": old})
    records = StoredRecords(locate(url, NOWHERE), lambda: 10.0)
    records.open()
    records.append(R2, HistoryLine(at=6.0, reason="x", phase="absent", steps=(), outcome="settled"))
    assert eventually(lambda: [line.at for line in records.audit(AuditQuery(outcome="retry"))] == [5.0])
    records.close()


def test_a_line_the_database_never_takes_does_not_keep_the_others_back(url: str) -> None:
    records = StoredRecords(locate(url, NOWHERE), lambda: 10.0)
    with records._database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE history ADD CONSTRAINT no_two CHECK (at <> 2)"))
        connection.execute(sa.text("ALTER TABLE history MODIFY line VARBINARY(400) NOT NULL"))
    for at, detail in ((1.0, ""), (2.0, "x" * 1000), (3.0, "")):
        records.append(R1, HistoryLine(at=at, reason="x", phase="absent", steps=(), outcome="settled", detail=detail))
    records.open()
    assert eventually(lambda: records.standing().waiting == 0)
    assert [line.at for line in records.audit(AuditQuery())] == [1.0, 3.0]
    records.close()


def test_a_wrong_password_is_said_and_not_shown(url: str) -> None:
    wrong = url.replace("s3cret", "wr0ng")
    with pytest.raises(BadConfiguration, match="Access denied") as refusal:
        StoredRecords(locate(wrong, NOWHERE), lambda: 1.0).open()
    assert "wr0ng" not in f"{refusal.value} {refusal.value.remedy}"


def test_a_dump_that_is_loaded_again_takes_back_what_was_said_and_no_term(
    database: MariaDB, empty: str, url: str
) -> None:
    """As docs/howto/operate.md says it: dump, later load, upgrade, raise the term above what was there."""
    name, ahead_s = locate(empty, NOWHERE).database, 5_000_000_000
    assert name
    records = StoredRecords(locate(url, NOWHERE), lambda: 1000.0)
    records.open()
    records.hold(R1, "before")
    records.next_term()
    dump = database.dump(name)
    records.hold(R2, "after")
    made = Database(locate(url, NOWHERE))
    terms.raise_to(made, ahead_s)
    greatest = terms.greatest(made)
    records.close()
    database.load(name, dump)
    migrating.upgrade(made)
    terms.raise_to(made, greatest)
    made.close()
    again = StoredRecords(locate(url, NOWHERE), lambda: 1000.0)
    again.open()
    assert again.holds() == {R1: "before"}
    assert again.next_term() > ahead_s
    again.close()
