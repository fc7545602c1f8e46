"""How an orchestrator joins others and tells of it; two whole ones on one database file."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from astara.cluster.membership import Membership
from astara.model.cluster import Member
from astara.model.errors import BadConfiguration, Gone
from astara.model.resource import ResourceKey
from astara.runtime import cluster
from astara.runtime.main import Orchestrator
from astara.runtime.options import load
from support.clock import VirtualClock
from support.fakes.cluster import FakeCoordinator, FakeGroup, FakeRings
from support.segment import eventually

ME = Member(name="a", incarnation="1")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configuration(home: Path, name: str, further: str = "") -> Path:
    (home / "secret").write_text("s3cret")
    file = home / f"{name}.conf"
    file.write_text(f"""
[DEFAULT]
name = {name}
state_dir = {home}/{name}
[database]
connection = sqlite:///{home}/shared.sqlite
[cluster]
coordination_url = database
lease_s = 2
{further}
[neutron]
url = http://127.0.0.1:{free_port()}
[intake]
http_listen = 127.0.0.1:{free_port()}
http_secret_file = {home}/secret
[services]
default_provider = memory
[admin]
socket = {home}/{name}.sock
[metrics]
listen =
""")
    return file


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Orchestrator, Orchestrator]]:
    made = [Orchestrator(load(["--config-file", str(configuration(tmp_path, name))])) for name in ("a", "b")]
    for one in made:
        one.start()
    yield made[0], made[1]
    for one in made:
        one.stop()


def test_two_on_one_database_share_the_work_until_one_is_sent_away(two: tuple[Orchestrator, Orchestrator]) -> None:
    first, second = two
    assert eventually(lambda: first.operator.status().cluster == second.operator.status().cluster == "one of 2")
    keys = [ResourceKey("router", str(number)) for number in range(50)]
    owned = [one.operator.cluster(of=key).owner for one in two for key in keys]
    assert owned[:50] == owned[50:]
    assert set(owned) == {"a", "b"}
    assert all(line.ok for line in first.operator.doctor() if line.check.startswith("cluster"))
    second.stop()
    assert eventually(lambda: first.operator.status().cluster == "one of 1")
    assert first.operator.cluster().why == "b left"
    with pytest.raises(Gone, match="b is no member"):
        first.operator.cluster(without="b")


def test_a_weight_and_a_lease_are_read_and_a_url_that_cannot_work_is_refused(tmp_path: Path) -> None:
    options = load(["--config-file", str(configuration(tmp_path, "a", "weight = 2.5"))])
    assert (options.cluster.weight, options.cluster.lease_s) == (2.5, 2.0)
    file = configuration(tmp_path, "b")
    file.write_text(file.read_text().replace("coordination_url = database", "coordination_url = file:///var/lib/group"))
    with pytest.raises(BadConfiguration, match=r"\[cluster\] coordination_url"):
        Orchestrator(load(["--config-file", str(file)]))


def test_what_is_wrong_is_said_in_words_with_a_remedy() -> None:
    clock = VirtualClock()
    group, rings = FakeGroup(clock), FakeRings()
    member = Membership(ME, FakeCoordinator(group, ME), rings, clock)
    assert cluster.in_words(member).startswith("no ring yet")
    member.look()
    assert cluster.in_words(member) == "one of 1"
    group.down = rings.down = True
    member.look()
    assert "nobody takes over" in cluster.in_words(member)
    bad = [line for line in cluster.checks(member, shared_database=True) if not line.ok]
    assert [line.check for line in bad] == ["cluster coordination", "cluster records"]
    assert all(line.remedy for line in bad)


def test_another_of_the_same_name_is_named_by_the_doctor() -> None:
    clock = VirtualClock()
    group, rings = FakeGroup(clock), FakeRings()
    member = Membership(ME, FakeCoordinator(group, ME), rings, clock)
    member.look()
    namesake = Member(name="a", incarnation="2")
    Membership(namesake, FakeCoordinator(group, namesake), rings, clock).look()
    member.look()
    assert cluster.in_words(member) == "not in the ring of 1"
    [bad] = [line for line in cluster.checks(member, shared_database=True) if not line.ok]
    assert "another process calls itself a" in bad.detail
    assert "name" in bad.remedy


def test_one_that_is_alone_owns_everything_and_has_nothing_to_say() -> None:
    alone = cluster.Alone(ME, 7)
    assert cluster.in_words(alone) == "alone"
    assert cluster.checks(alone, shared_database=False) == []
    view = cluster.view(alone, FakeRings(), [ResourceKey("router", "1")], leaver="a")
    assert [(line.giver, line.taker, line.resources) for line in view.moves] == [("a", "", 1)]
