"""What an operator may rely on, of the fake, of the running orchestrator, and of both through the admin socket."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from astara.admin.client import OperatorClient
from astara.admin.server import AdminServer
from astara.model.cluster import Member
from astara.model.errors import Gone, Terminal
from astara.model.operator import CheckLine, NodeLine, Operator, UpgradeRequest
from astara.model.resource import ResourceKey
from astara.model.upgrade import State
from astara.pool.deficit import Size
from astara.pool.keeper import Keeper
from astara.pool.options import Kind, PoolOptions
from astara.pool.stock import Stock
from astara.providers.memory.provider import MemoryProvider
from astara.records.database import locate
from astara.records.store import RecordsStanding, StoredRecords
from astara.runtime import cluster
from astara.runtime.operator import Parts, RunningOperator
from astara.runtime.rolling import Rolling
from support.builders.resources import router
from support.fakes.cluster import FakeRings
from support.fakes.operator import BLUE, FakeOperator
from support.simulation import World

NOBODY = ResourceKey("router", "33333333-dddd-4000-8000-000000000003")
NO_DRIVER = ResourceKey("toaster", "1")


@dataclass(frozen=True)
class Office:
    """Somebody to ask, one resource everybody there knows, and a way to let time pass."""

    operator: Operator
    known: ResourceKey
    settle: Callable[[], None]


def fake_office() -> Office:
    return Office(FakeOperator(), BLUE, lambda: None)


def running_office(home: Path) -> Office:
    records = StoredRecords(locate(None, home), lambda: 1000.0)
    records.open()
    world = World(upgrades=records.upgrades)
    for number in (1, 2):
        world.neutron.put_router(router(f"r{number}"))
    orchestrator = world.orchestrator()
    orchestrator.run(60)
    clock, options = world.clock, PoolOptions(sizes={Kind("memory"): Size(1, 2)})
    world.cloud.hosts = ("h1",)
    keeper = Keeper({"memory": MemoryProvider(world.cloud, clock.wall)}, Stock(options, clock), options, clock)
    for _ in range(2):  # the second sees what the first has made
        keeper.look()
    alone = cluster.Alone(Member(name="a", incarnation="1"), 7)
    keys = [ResourceKey("router", "r1"), ResourceKey("router", "r2")]
    has = {"microvm": ("astara",)}
    nodes = [NodeLine(name=name, url="", reachable=True, bodies=has) for name in ("node-1", "node-2")]
    parts = Parts(
        engine=orchestrator.engine,
        feeds=(),
        providers={"memory": MemoryProvider(world.cloud, world.clock.wall)},
        drivers=("router",),
        nodes=lambda: (),
        trouble=lambda: None,
        checks=lambda: (CheckLine(check="neutron", ok=True, detail="answers"),),
        pool=keeper.lines,
        records=lambda: RecordsStanding("memory", shared=False, trouble=None, remedy="", waiting=0, lost=0),
        started_at=0.0,
        cluster=lambda without, of: cluster.view(alone, FakeRings(), keys, without, of),
        rolling=Rolling(
            orchestrator.engine, orchestrator.evacuation, lambda: nodes, lambda key: cluster.owner_of(alone, key), "a"
        ),
    )
    return Office(RunningOperator(parts), ResourceKey("router", "r1"), lambda: orchestrator.run(120))


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("cheroot.server.HTTPServer.expiration_interval", 0.02)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    yield
    structlog.reset_defaults()


@pytest.fixture(params=["direct", "through the socket"])
def office(request: pytest.FixtureRequest, kind: Callable[[], Office]) -> Iterator[Office]:
    made = kind()
    if request.param == "direct":
        yield made
        return
    with tempfile.TemporaryDirectory(prefix="astara-") as home:
        server = AdminServer(made.operator, Path(home) / "admin.sock")
        server.start()
        yield Office(OperatorClient(Path(home) / "admin.sock"), made.known, made.settle)
        server.stop()


@pytest.fixture(params=["fake", "running"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Office]:
    return fake_office if request.param == "fake" else lambda: running_office(tmp_path)


def test_every_listed_resource_can_be_shown_by_its_key(office: Office) -> None:
    lines = office.operator.resources()
    assert str(office.known) in [line.key for line in lines]
    for line in lines:
        assert office.operator.resource(ResourceKey.parse(line.key)).resource.key == line.key


def test_what_nobody_knows_is_gone(office: Office) -> None:
    asked = office.operator
    for question in (asked.resource, asked.history, asked.rebuild):
        with pytest.raises(Gone):
            question(NOBODY)
    with pytest.raises(Gone):
        asked.console_log("no-such-instance")


def test_a_driver_nobody_has_is_gone_for_every_action(office: Office) -> None:
    asked = office.operator
    for act in (asked.resource, asked.release, asked.rebuild, lambda key: asked.hold(key, "because")):
        with pytest.raises(Gone):
            act(NO_DRIVER)


def test_a_hold_shows_with_its_reason_until_it_is_released(office: Office) -> None:
    def line() -> tuple[bool, str]:
        shown = office.operator.resource(office.known).resource
        return shown.held, shown.hold_reason

    office.operator.hold(office.known, "change 4711")
    office.settle()
    assert line() == (True, "change 4711")
    office.operator.release(office.known)
    office.settle()
    assert line() == (False, "")


def test_resync_tells_how_many_are_looked_at_again(office: Office) -> None:
    assert office.operator.resync(office.known) == 1
    assert office.operator.resync(None) == len(office.operator.resources())


def test_the_summary_counts_what_the_list_shows(office: Office) -> None:
    lines = office.operator.resources()
    summary = office.operator.status()
    assert summary.resources == len(lines)
    assert sum(summary.phases.values()) == len(lines)


def test_every_instance_belongs_to_a_listed_resource_or_is_a_spare_and_has_a_console_log(office: Office) -> None:
    keys = {line.key for line in office.operator.resources()}
    instances = office.operator.instances()
    assert instances
    for instance in instances:
        assert instance.resource in keys or instance.resource == "spare/0"
        assert isinstance(office.operator.console_log(instance.id), str)


def test_history_is_told_oldest_first(office: Office) -> None:
    times = [line.at for line in office.operator.history(office.known)]
    assert times
    assert times == sorted(times)


def test_after_a_rebuild_is_asked_for_there_is_an_instance_again(office: Office) -> None:
    office.operator.rebuild(office.known)
    office.settle()
    assert str(office.known) in [line.resource for line in office.operator.instances()]


def test_drivers_providers_and_checks_are_named(office: Office) -> None:
    assert "router" in [line.name for line in office.operator.drivers()]
    assert office.operator.providers()
    assert office.operator.doctor()


def test_every_shelf_of_the_pool_says_how_many_are_there_and_why_not_more(office: Office) -> None:
    [line] = office.operator.pool()
    assert line.floor <= line.wanted <= line.ceiling
    assert line.ready >= 1
    assert (line.state == "ok") == (not line.because)


def test_who_shares_the_work_is_said_and_what_would_move_and_whose_a_resource_is(office: Office) -> None:
    view = office.operator.cluster()
    assert view.me in {one.name for one in view.members if one.me}
    assert sum(one.resources for one in view.members) == view.known
    assert view.moves == ()
    assert view.owner is None
    without = office.operator.cluster(without=view.me)
    assert {line.giver for line in without.moves} == {view.me}
    assert office.operator.cluster(of=office.known).owner in {one.name for one in view.members}
    with pytest.raises(Gone, match="nobody is no member"):
        office.operator.cluster(without="nobody")


def test_a_node_is_drained_until_it_is_not_and_twice_is_once(office: Office) -> None:
    def drained() -> dict[str, str | None]:
        return {line.name: line.drained for line in office.operator.nodes()}

    for _ in range(2):
        office.operator.drain("node-2", "new disks")
    assert drained() == {"node-1": None, "node-2": "new disks"}
    for _ in range(2):
        office.operator.undrain("node-2")
    assert drained() == {"node-1": None, "node-2": None}
    for act in (lambda: office.operator.drain("node-9", "x"), lambda: office.operator.undrain("node-9")):
        with pytest.raises(Gone, match="node-9") as refused:
            act()
        assert "node-1, node-2" in refused.value.remedy


def test_an_upgrade_is_begun_paused_resumed_and_aborted_and_twice_is_once(office: Office) -> None:
    asked = office.operator
    with pytest.raises(Gone):
        asked.upgrade()
    with pytest.raises(Gone):
        asked.pause_upgrade()
    wish = UpgradeRequest(image="astara")
    assert asked.begin_upgrade(wish).number == asked.begin_upgrade(wish).number == 1
    assert (asked.upgrade().kind, asked.upgrade().image) == ("microvm", "astara")
    for _ in range(2):
        assert asked.pause_upgrade().state == "paused"
    for _ in range(2):
        assert asked.resume_upgrade().state == "running"
    for _ in range(2):
        assert asked.abort_upgrade(back=False).state == "aborted"
    assert asked.upgrade().state == "aborted"


def test_an_image_nobody_has_is_refused_with_what_there_is(office: Office) -> None:
    with pytest.raises(Terminal, match="no node that answers has an image 'sha256:0000000'") as refused:
        office.operator.begin_upgrade(UpgradeRequest(image="sha256:0000000"))
    assert "node-1: microvm astara" in refused.value.remedy


def test_without_images_there_is_no_way_back(office: Office) -> None:
    office.operator.begin_upgrade(UpgradeRequest(body="microvm"))
    with pytest.raises(Terminal, match="cannot be taken back"):
        office.operator.abort_upgrade(back=True)


def test_the_doctor_tells_of_an_upgrade_that_stopped_and_of_nodes_that_are_left(tmp_path: Path) -> None:
    office = running_office(tmp_path)
    assert [line.check for line in office.operator.doctor()] == ["neutron"]
    office.operator.begin_upgrade(UpgradeRequest(image="astara"))
    office.operator.drain("node-2", "new disks")
    upgrades = StoredRecords(locate(None, tmp_path), lambda: 1000.0).upgrades
    upgrades.say(State.STOPPED, "router/r1: SNAT lost")
    lines = {line.check: line for line in office.operator.doctor()}
    assert (lines["upgrade 1"].ok, lines["upgrade 1"].detail) == (False, "router/r1: SNAT lost")
    assert "astara upgrade resume" in lines["upgrade 1"].remedy
    assert lines["node node-2 is left"].detail == "drained: new disks"
