"""Warm instances under a whole orchestrator: served at once, never wrongly, and found again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from astara.contract.agent import SPARE, Health
from astara.contract.generation import ZERO
from astara.model.errors import Retry, Terminal
from astara.model.operator import PoolLine
from astara.model.resource import DesiredInstance, ObservedInstance, ResourceKey
from astara.pool.deficit import Size
from astara.pool.keeper import Keeper
from astara.pool.options import Kind, PoolOptions
from astara.pool.stock import Stock
from astara.providers.memory.provider import MemoryProvider
from support.builders.resources import router
from support.simulation import Orchestrator, World

TWO = PoolOptions(sizes={Kind("memory"): Size(2, 4)})


@pytest.fixture
def world() -> World:
    made = World(pool=TWO)
    made.cloud.hosts = ("h1", "h2")
    return made


def filled(world: World) -> Orchestrator:
    orchestrator = world.orchestrator()
    orchestrator.run(5)
    assert len(world.spares("h1")) == len(world.spares("h2")) == 2
    return orchestrator


def asked(world: World, orchestrator: Orchestrator, *names: str, **changes: str) -> None:
    """Have routers made, and look at what is there in the same instant."""
    for name in names or ("r1",):
        world.neutron.put_router(router(name, **changes))
        orchestrator.event(name)
    orchestrator.work()


def line(orchestrator: Orchestrator, host: str = "h1") -> PoolLine:
    assert orchestrator.keeper is not None
    [found] = [one for one in orchestrator.keeper.lines() if one.host == host]
    return found


def numbers(orchestrator: Orchestrator, host: str = "h1") -> tuple[int, int, int, str]:
    shown = line(orchestrator, host)
    return shown.ready, shown.hits, shown.misses, shown.state


def test_a_router_asked_for_is_served_from_a_spare_in_the_same_instant_and_the_shelf_fills_again(world: World) -> None:
    orchestrator = filled(world)
    warm = {spare.id for spare in world.spares("h1")}
    asked(world, orchestrator)
    assert world.only().id in warm
    assert (world.only().health, orchestrator.phase()) == (Health.HEALTHY, "configured")
    orchestrator.run(5)
    assert numbers(orchestrator) == (2, 1, 0, "ok")


def test_two_slots_of_a_router_are_served_warm_on_two_hosts(world: World) -> None:
    orchestrator = filled(world)
    warm = {spare.id for host in ("h1", "h2") for spare in world.spares(host)}
    asked(world, orchestrator, host="h1,h2", slots="a,b")
    pair = world.instances()["r1"]
    assert {one.host for one in pair} == {"h1", "h2"}
    assert {one.id for one in pair} <= warm


def test_an_empty_shelf_means_a_cold_start_at_once(world: World) -> None:
    orchestrator = filled(world)
    asked(world, orchestrator, "r1", "r2", "r3")
    assert [orchestrator.phase(name) for name in ("r1", "r2", "r3")] == ["configured"] * 3
    orchestrator.run(5)
    assert numbers(orchestrator)[1:3] == (2, 1)


def test_an_orchestrator_that_has_not_looked_yet_starts_cold_and_fills_then(world: World) -> None:
    orchestrator = world.orchestrator()
    asked(world, orchestrator)
    assert orchestrator.phase() == "configured"
    orchestrator.run(5)
    assert numbers(orchestrator) == (2, 0, 1, "ok")


def test_a_burst_makes_the_shelf_grow_to_its_ceiling_and_hours_of_silence_bring_it_back(world: World) -> None:
    orchestrator = filled(world)
    asked(world, orchestrator, *(f"r{number}" for number in range(9)))
    orchestrator.run(60)
    assert (line(orchestrator).wanted, len(world.spares())) == (4, 4)
    orchestrator.run(12 * 3600)
    assert (line(orchestrator).wanted, len(world.spares())) == (2, 2)


def test_a_restart_with_empty_memory_finds_the_spares_keeps_them_and_hands_them_out(world: World) -> None:
    orchestrator = filled(world)
    asked(world, orchestrator, *(f"r{number}" for number in range(9)))
    orchestrator.run(60)
    before = [spare.id for spare in world.spares()]
    made = world.cloud.calls["create"]
    orchestrator = world.orchestrator()
    orchestrator.run(60)
    assert [spare.id for spare in world.spares()] == before
    assert world.cloud.calls["create"] == made
    asked(world, orchestrator, "r9")
    assert world.only("r9").id == before[0]


@pytest.mark.parametrize("harm", ["hang", "fail", "lose"])
def test_a_spare_that_died_on_the_shelf_is_not_handed_out_and_is_replaced(world: World, harm: str) -> None:
    orchestrator = filled(world)
    dead, well = world.spares("h1")
    getattr(world.cloud, harm)(dead.id)
    asked(world, orchestrator)
    assert world.only().id == well.id
    assert orchestrator.phase() == "configured"
    orchestrator.run(300)
    assert dead.id not in world.cloud.instances
    assert numbers(orchestrator) == (2, 1, 0, "ok")


def test_when_every_spare_died_the_start_is_cold_and_at_once(world: World) -> None:
    orchestrator = filled(world)
    for spare in world.spares("h1"):
        world.cloud.hang(spare.id)
    asked(world, orchestrator)
    assert orchestrator.phase() == "configured"
    assert not world.only().hung


def test_spares_of_an_old_image_are_replaced(world: World) -> None:
    world.cloud.image = "v1"
    orchestrator = filled(world)
    world.cloud.image = "v2"
    orchestrator.run(30)
    assert [spare.image for spare in world.spares("h1")] == ["v2", "v2"]
    asked(world, orchestrator)
    assert world.only().image == "v2"


def test_a_spare_somebody_configured_is_not_handed_out(world: World) -> None:
    orchestrator = filled(world)
    used = world.spares("h1")[0]
    used.health, used.digest = Health.HEALTHY, "something"
    asked(world, orchestrator)
    assert world.only().id != used.id


def test_a_pool_that_cannot_refill_says_why_and_when_it_tries_again_and_requests_start_cold(world: World) -> None:
    orchestrator = filled(world)
    for _ in range(2):
        world.cloud.lose(world.spares("h1")[0].id)
    full_disk = Terminal("the node's disk is full", "free space there")
    for _ in range(3):
        world.cloud.inject("create", full_disk)
    orchestrator.run(11)
    shown = line(orchestrator)
    assert (shown.state, shown.ready) == ("failing", 0)
    assert "the node's disk is full (free space there); tried" in shown.because
    assert "again in" in shown.because
    world.cloud.faults.clear()
    asked(world, orchestrator)
    assert orchestrator.phase() == "configured"
    orchestrator.run(60)
    assert (line(orchestrator).state, line(orchestrator).because) == ("ok", "")


def test_failing_refills_are_tried_ever_more_rarely(world: World) -> None:
    orchestrator = filled(world)
    world.cloud.lose(world.spares("h1")[0].id)
    for _ in range(1000):
        world.cloud.inject("create", Terminal("no such image"))
    before = world.cloud.calls["create"]
    orchestrator.run(3600)
    assert 10 <= world.cloud.calls["create"] - before <= 25


def test_creation_that_half_succeeds_makes_no_spare_too_many(world: World) -> None:
    for _ in range(3):
        world.cloud.inject("create", after=True)
    orchestrator = world.orchestrator()
    orchestrator.run(60)
    assert (len(world.spares("h1")), len(world.spares("h2"))) == (2, 2)
    assert world.cloud.calls["create"] == 4


def test_a_lost_answer_to_a_claim_ends_with_one_instance(world: World) -> None:
    orchestrator = filled(world)
    warm = world.spares("h1")[0].id
    world.cloud.inject("adopt", after=True)
    asked(world, orchestrator)
    assert (world.only().id, orchestrator.phase()) == (warm, "configured")


def test_a_host_that_is_away_is_left_alone_and_said_to_be_away(world: World) -> None:
    orchestrator = filled(world)
    world.cloud.unreachable.add("h1")
    before = dict(world.cloud.calls)
    orchestrator.run(300)
    assert (line(orchestrator).state, line(orchestrator, "h2").state) == ("away", "ok")
    assert world.cloud.calls["create"] == before["create"]
    world.cloud.unreachable.clear()
    orchestrator.run(60)
    assert numbers(orchestrator) == (2, 0, 0, "ok")
    assert world.cloud.calls["create"] == before["create"]


def test_slowly_booting_spares_are_not_handed_out_nor_made_twice_and_given_up_in_the_end(world: World) -> None:
    world.cloud.boots_slowly = True
    orchestrator = world.orchestrator()
    orchestrator.run(60)
    first = {spare.id for spare in world.spares("h1")}
    assert (line(orchestrator).ready, line(orchestrator).coming, line(orchestrator).state) == (0, 2, "refilling")
    one = min(first)
    world.cloud.answers(one)
    orchestrator.run(5)
    assert line(orchestrator).ready == 1
    assert line(orchestrator).refill_s == pytest.approx(60.0, abs=2.0)
    world.cloud.boots_slowly = False
    orchestrator.run(120)
    assert numbers(orchestrator) == (2, 0, 0, "ok")
    assert one in {spare.id for spare in world.spares("h1")}
    assert len(first & {spare.id for spare in world.spares("h1")}) == 1


def test_shelves_that_are_configured_no_more_are_emptied(world: World) -> None:
    filled(world)
    world.pool = PoolOptions()
    world.orchestrator().run(30)
    assert world.spares("h1") == world.spares("h2") == []


def test_two_that_fill_the_same_shelf_end_with_as_many_as_one(world: World) -> None:
    one, other = world.orchestrator(), world.orchestrator()
    for _ in range(6):
        one.run(5)
        other.run(5)
    assert len(world.spares("h1")) == 2
    asked(world, one)
    asked(world, other, "r2")
    assert (one.phase("r1"), other.phase("r2")) == ("configured", "configured")


def test_spares_are_not_resources_and_nobody_takes_them_away(world: World) -> None:
    orchestrator = filled(world)
    before = [spare.id for spare in world.spares()]
    orchestrator.engine.resync("feed was interrupted")
    orchestrator.run(7200)
    assert [spare.id for spare in world.spares()] == before
    assert all(key.driver != SPARE for key in orchestrator.engine.ledger.known())


class Hasty(MemoryProvider):
    """Says that a new instance is as quick as a spare."""

    @property
    def capabilities(self) -> frozenset[str]:
        return super().capabilities | {"instant"}


class Rigid(MemoryProvider):
    """Cannot plug ports into what lives."""

    @property
    def capabilities(self) -> frozenset[str]:
        return super().capabilities - {"hotplug"}


class Pausing(MemoryProvider):
    """Counts spares it was asked for."""

    made = 0

    def create(self, key: ResourceKey, wanted: DesiredInstance, generation: object) -> ObservedInstance:
        self.made += key.driver == SPARE
        return super().create(key, wanted, ZERO)


def test_what_is_made_in_an_instant_needs_no_spares(world: World) -> None:
    stock = Stock(TWO, world.clock)
    keeper = Keeper({"memory": Hasty(world.cloud, world.clock.wall)}, stock, TWO, world.clock)
    keeper.look()
    assert world.spares() == []
    assert [(one.wanted, one.state) for one in keeper.lines()] == [(0, "ok"), (0, "ok")]


def test_where_ports_cannot_be_plugged_later_each_number_of_nics_has_its_shelf(world: World) -> None:
    options = PoolOptions(sizes={Kind("memory", nics=2): Size(1, 1), Kind("memory", nics=3): Size(2, 2)})
    keeper = Keeper({"memory": Rigid(world.cloud)}, Stock(options, world.clock), options, world.clock)
    for _ in range(2):
        keeper.look()
    assert [spare.key.id for spare in world.spares("h1")] == ["2", "3", "3"]


def test_refills_wait_for_real_work_but_not_for_ever(world: World) -> None:
    options = replace(TWO, patience_s=10.0)
    provider = Pausing(world.cloud, world.clock.wall)
    keeper = Keeper({"memory": provider}, Stock(options, world.clock), options, world.clock, busy=lambda: True)
    assert keeper.look() == options.yield_look_s
    assert provider.made == 0
    assert {one.state for one in keeper.lines()} == {"waiting"}
    world.clock.advance(10.0)
    keeper.look()
    assert provider.made == 2  # one per host


def test_a_refill_waits_for_instances_that_are_being_made_on_the_same_host_only(world: World) -> None:
    provider, stock = Pausing(world.cloud, world.clock.wall), Stock(TWO, world.clock)
    keeper = Keeper({"memory": provider}, stock, TWO, world.clock)
    with stock.working("h1"):
        keeper.look()
        assert (len(world.spares("h1")), len(world.spares("h2"))) == (0, 2)
    keeper.look()
    assert len(world.spares("h1")) == 2


def test_a_cloud_that_cannot_be_listed_is_not_filled(world: World) -> None:
    world.cloud.inject("list-one", Retry("the cloud is away"))
    orchestrator = world.orchestrator()
    assert orchestrator.keeper is not None
    orchestrator.keeper.look()
    assert world.spares() == []
    assert line(orchestrator).state == "away"
    orchestrator.run(30)
    assert line(orchestrator).state == "ok"


def test_spares_of_a_host_that_another_keeps_are_seen_and_handed_out_but_neither_made_nor_ended(world):
    stock = Stock(TWO, world.clock)
    elsewhere = Keeper({"memory": MemoryProvider(world.cloud)}, stock, TWO, world.clock, keeps=lambda host: False)
    elsewhere.look()
    assert world.spares() == []
    Keeper({"memory": MemoryProvider(world.cloud)}, Stock(TWO, world.clock), TWO, world.clock).look()
    made = world.spares()
    assert made
    elsewhere.look()
    assert [line.ready for line in elsewhere.lines() if line.host == "h1"] == [len(made)]
    assert world.spares() == made
