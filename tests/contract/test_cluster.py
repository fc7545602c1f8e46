"""The contracts of cluster.boundaries: who is in a group, and a table of rings; on fakes, databases and services."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from astara.cluster.boundaries import Coordinator, Rings
from astara.cluster.coordination import ToozCoordinator
from astara.model.cluster import Member, Ring
from astara.model.errors import BadConfiguration, Retry, Stale
from astara.model.resource import ResourceKey
from astara.reconcile.clock import SystemClock
from astara.records import migrating
from astara.records.beats import BeatsCoordinator
from astara.records.database import Database, locate
from astara.records.store import StoredRecords
from support.clock import VirtualClock
from support.coordinators import SERVERS, ZOOKEEPER, ended, member_process
from support.fakes.cluster import FakeCoordinator, FakeGroup, FakeRings
from support.fakes.records import FakeRecords
from support.neutron.mariadb import mariadb
from support.segment import eventually

LEASE_S = 3.0
A, B = Member(name="a", incarnation="1"), Member(name="b", incarnation="2", weight=2.5)
R1 = ResourceKey("router", "r1")


@dataclass
class Group:
    """Makes coordinators for one group. `pass_time`: let seconds go by. `down`: nobody can ask it any more."""

    make: Callable[[Member], Coordinator]
    pass_time: Callable[[float], None]
    down: Callable[[], None]
    made: list[Coordinator] = field(default_factory=list)

    def member(self, member: Member) -> Coordinator:
        self.made.append(self.make(member))
        return self.made[-1]


def wait(seconds: float) -> None:
    threading.Event().wait(seconds)


zookeeper = pytest.param(
    "zookeeper",
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(
            not (ZOOKEEPER.exists() and shutil.which("java")), reason="no ZooKeeper here: run it by `make coordinators`"
        ),
    ],
)


@pytest.fixture(
    params=["fake", "database", pytest.param("mariadb", marks=pytest.mark.slow), "redis", "etcd", zookeeper]
)
def group(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Group]:
    with contextlib.ExitStack() as stack:
        match request.param:
            case "fake":
                clock = VirtualClock()
                known = FakeGroup(clock, LEASE_S)
                made = Group(lambda me: FakeCoordinator(known, me), clock.advance, lambda: setattr(known, "down", True))
            case "database":
                records = opened(stack, None, tmp_path)
                now = SystemClock().now
                made = Group(
                    lambda me: BeatsCoordinator(records.asking, me, LEASE_S, now),
                    wait,
                    lambda: blocked(stack, tmp_path / "records.sqlite"),
                )
            case "mariadb":
                url = stack.enter_context(mariadb(tmp_path))
                records = opened(stack, url, tmp_path)
                now = SystemClock().now
                made = Group(
                    lambda me: BeatsCoordinator(records.asking, me, LEASE_S, now),
                    wait,
                    lambda: killed(tmp_path / "pid"),
                )
            case name:
                url, server = stack.enter_context(SERVERS[name](tmp_path))
                made = Group(lambda me: ToozCoordinator(url, "astara", me, LEASE_S), wait, lambda: ended(server))
        yield made
        for coordinator in made.made:
            coordinator.close()
        # While the server is there: without it redis-py tries again for a minute, by random delays others draw from.
        for thread in threading.enumerate():
            if thread.name.startswith("coordinator"):
                thread.join(10.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # PyMySQL leaves the socket of a server that died to the collector


def opened(stack: contextlib.ExitStack, connection: str | None, directory: Path) -> StoredRecords:
    if connection is not None:
        database = Database(locate(connection, directory))
        migrating.upgrade(database)
        database.close()
    records = StoredRecords(locate(connection, directory), SystemClock().wall)
    records.open()
    stack.callback(records.close)
    return records


def blocked(stack: contextlib.ExitStack, file: Path) -> None:
    """Let somebody else sit on the file."""
    import sqlite3

    connection = sqlite3.connect(file, isolation_level=None)
    stack.callback(connection.close)
    connection.execute("BEGIN EXCLUSIVE")


def killed(pid_file: Path) -> None:
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


def beat(coordinator: Coordinator) -> frozenset[Member]:
    """Beat; a server on a busy machine may need more than one patience."""
    for _ in range(9):
        with contextlib.suppress(Retry):
            return coordinator.beat()
    return coordinator.beat()


def alone_within_two_leases(group, one: Coordinator) -> None:
    """Beat while time passes until A alone is left."""
    for _ in range(20):
        if beat(one) == {A}:
            return
        group.pass_time(LEASE_S / 10)
    pytest.fail("it is among the living for more than two leases")


def test_members_that_beat_see_each_other_with_name_incarnation_and_weight(group):
    one, other = group.member(A), group.member(B)
    assert beat(one) == {A}
    assert B in beat(other)
    beat(other)  # a group in a database believes in life when it has seen a second beat
    beat(one)
    beat(other)
    assert beat(one) == beat(other) == {A, B}


def test_one_that_leaves_is_gone_at_once_and_may_come_again(group):
    one, other = group.member(A), group.member(B)
    for _ in range(3):
        beat(one)
        beat(other)
    other.leave()
    other.leave()
    assert beat(one) == {A}
    beat(other)
    beat(one)
    beat(other)
    assert beat(one) == {A, B}


@pytest.mark.parametrize(
    "group",
    ["fake", "database", "redis", "etcd", pytest.param("mariadb", marks=pytest.mark.slow)],
    indirect=True,
)
def test_one_that_beats_no_more_is_gone_when_the_lease_is_over_and_finds_its_way_back(group):
    one, other = group.member(A), group.member(B)
    for _ in range(3):
        beat(one)
        beat(other)
    alone_within_two_leases(group, one)
    beat(other)
    beat(one)
    beat(other)
    assert beat(one) == {A, B}


@pytest.mark.parametrize("group", [zookeeper], indirect=True)
def test_on_zookeeper_a_process_that_stands_still_is_gone_when_the_lease_is_over_and_finds_its_way_back(
    group, tmp_path
):
    """There a session is the process's, whose client keeps it by itself: who is stopped as a whole beats no more."""
    one = group.member(A)
    [url] = {made._url for made in group.made}
    with member_process(url, B, LEASE_S, tmp_path / "member.log") as other:
        assert eventually(lambda: beat(one) == {A, B}, within_s=30)
        other.send_signal(signal.SIGSTOP)
        alone_within_two_leases(group, one)
        other.send_signal(signal.SIGCONT)
        assert eventually(lambda: beat(one) == {A, B}, within_s=30)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # redis-py tries a dead server for a minute
@pytest.mark.parametrize(
    "group",
    [
        "fake",
        "database",
        "etcd",
        zookeeper,
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("redis", "mariadb")),
    ],
    indirect=True,
)
def test_a_group_that_cannot_be_asked_says_so_and_what_to_do(group):
    one = group.member(A)
    beat(one)
    group.down()
    with pytest.raises(Retry) as away:
        one.beat()
    assert away.value.remedy


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///var/lib/astara/group", "never notices"),
        ("nonsense://127.0.0.1", "nonsense"),
    ],
)
def test_a_coordination_url_that_cannot_work_is_refused_naming_the_option(url, words):
    with pytest.raises(BadConfiguration, match=words) as refused:
        ToozCoordinator(url, "astara", A, LEASE_S)
    assert "[cluster] coordination_url" in str(refused.value)


def test_a_password_in_the_url_is_in_no_message():
    coordinator = ToozCoordinator("etcd3+http://astara:s3cret@127.0.0.1:9", "astara", A, LEASE_S)
    with pytest.raises(Retry) as away:
        coordinator.beat()
    assert "s3cret" not in str(away.value) + away.value.remedy


@pytest.fixture(params=["fake", "sqlite", pytest.param("mariadb", marks=pytest.mark.slow)])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[object]:
    with contextlib.ExitStack() as stack:
        if request.param == "fake":
            made = FakeRecords()
            made.rings = FakeRings()
            yield made
            return
        url = stack.enter_context(mariadb(tmp_path)) if request.param == "mariadb" else None
        yield opened(stack, url, tmp_path)


@pytest.fixture
def rings(records) -> Rings:
    return records.rings


def test_rings_follow_each_other_and_the_newest_is_read_back_whole(rings):
    assert rings.newest() is None
    first, second = Ring(epoch=10, members=(A,)), Ring(epoch=12, members=(A, B))
    assert rings.append(first, 0, "a", "a came")
    assert rings.append(second, 10, "b", "b came")
    assert rings.newest() == second
    assert [(line.ring, line.by, line.why) for line in rings.story(10)] == [
        (second, "b", "b came"),
        (first, "a", "a came"),
    ]


def test_of_two_that_follow_one_ring_the_first_wins_whatever_its_epoch(rings):
    assert rings.append(Ring(epoch=10, members=(A,)), 0, "a", "")
    assert rings.append(Ring(epoch=11, members=(A, B)), 10, "a", "")
    assert not rings.append(Ring(epoch=12, members=(B,)), 10, "b", "")
    assert not rings.append(Ring(epoch=9, members=(B,)), 0, "b", "")
    assert rings.newest() == Ring(epoch=11, members=(A, B))


def test_of_many_at_the_same_moment_one_wins(rings):
    assert rings.append(Ring(epoch=10, members=(A,)), 0, "a", "")
    won: list[bool] = []

    def race(number: int) -> None:
        won.append(rings.append(Ring(epoch=11 + number, members=(A, B)), 10, str(number), ""))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 5 + [True]


def test_of_two_claims_the_greater_term_is_obeyed_and_may_be_made_again(records):
    records.claim(R1, "a", 5)
    records.claim(R1, "a", 5)
    records.claim(R1, "b", 4)
    records.claim(R1, "a", 7)
    with pytest.raises(Stale):
        records.claim(R1, "a", 6)
    records.claim(R1, "a", 7)
