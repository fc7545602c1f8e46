"""A resource changes its body: by its flavor, or by an operator's word; the whole orchestrator, simulated."""

from __future__ import annotations

import pytest

from astara.contract.agent import Health
from astara.model.errors import Gone, Terminal
from astara.model.resource import ResourceKey
from astara.providers.memory.cloud import Simulated
from support.builders.resources import router
from support.simulation import Orchestrator, World

R1 = ResourceKey("router", "r1")


@pytest.fixture
def world() -> World:
    return World()


def settled(world: World, **wish: object) -> Orchestrator:
    world.neutron.put_router(router(**wish))
    orchestrator = world.orchestrator()
    orchestrator.run(60)
    assert orchestrator.phase() == "configured"
    return orchestrator


def plugged(world: World) -> list[Simulated]:
    return [instance for instance in world.cloud.instances.values() if not instance.standby]


def test_a_move_never_leaves_the_resource_without_a_configured_instance_nor_plugs_two_in(world):
    orchestrator = settled(world, ports=("p1", "p2"))
    moments: list[tuple[str, list[tuple[str, Health]]]] = []

    def look(when: str, operation: str) -> None:
        if not operation.startswith("list"):
            moments.append((f"{when} {operation}", [(i.body, i.health) for i in plugged(world)]))

    world.cloud.watch = look
    orchestrator.engine.move(R1, "paper")
    orchestrator.run(60)
    assert [what for what, _ in moments if what.startswith("after")] == [
        "after create",
        "after push",
        "after cut_over",
        "after delete",
    ]
    assert [serving for _, serving in moments] == [[("memory", Health.HEALTHY)]] * 5 + [[("paper", Health.HEALTHY)]] * 3


@pytest.mark.parametrize("operation", ["create", "push", "cut_over", "delete"])
@pytest.mark.parametrize("after", [False, True], ids=["fails", "answer lost"])
def test_a_move_that_fails_half_way_goes_on_and_what_serves_serves(world, operation, after):
    orchestrator = settled(world, ports=("p1",))
    world.cloud.inject(operation, after=after)
    world.cloud.watch = lambda when, what: serving.append(len(plugged(world)))
    serving: list[int] = []
    orchestrator.engine.move(R1, "paper")
    orchestrator.run(120)
    assert (world.only().body, world.only().standby, orchestrator.phase()) == ("paper", False, "configured")
    assert set(serving) == {1}


def test_a_new_body_that_is_refused_leaves_the_old_one_alone_until_the_operator_takes_it_back(world):
    orchestrator = settled(world, ports=("p1",))
    old = world.only()
    for _ in range(20):
        world.cloud.inject("create", Terminal("no such image", "load it"))
    orchestrator.engine.move(R1, "paper")
    orchestrator.run(60)
    [line] = orchestrator.engine.resources()
    assert "no such image (load it)" in line.because
    assert plugged(world) == [old]
    assert old.health is Health.HEALTHY
    orchestrator.engine.move(R1, None)
    orchestrator.run(60)
    assert (world.only(), orchestrator.phase()) == (old, "configured")


def test_a_moved_resource_ends_in_its_new_body_alone_and_comes_back_by_default(world):
    orchestrator = settled(world)
    orchestrator.engine.move(R1, "paper")
    orchestrator.run(60)
    assert (world.only().body, orchestrator.phase()) == ("paper", "configured")
    orchestrator.engine.move(R1, None)
    orchestrator.run(60)
    assert (world.only().body, orchestrator.phase()) == ("memory", "configured")


def test_a_choice_survives_a_restart(world):
    settled(world).engine.move(R1, "paper")
    later = world.orchestrator()
    later.run(60)
    assert world.only().body == "paper"


def test_a_flavor_says_the_body_and_an_operator_overrides_it(world):
    orchestrator = settled(world, body="paper")
    assert world.only().body == "paper"
    orchestrator.engine.move(R1, "memory")
    orchestrator.run(60)
    assert world.only().body == "memory"


def test_a_body_nobody_knows_is_refused_and_changes_nothing(world):
    orchestrator = settled(world)
    with pytest.raises(Terminal, match="'zeppelin' is not known") as refused:
        orchestrator.engine.move(R1, "zeppelin")
    assert "memory, paper" in refused.value.remedy
    with pytest.raises(Gone):
        orchestrator.engine.move(ResourceKey("router", "r9"), "paper")
    orchestrator.run(60)
    assert world.only().body == "memory"


def test_a_flavor_with_an_unknown_body_waits_with_the_reason_and_what_runs_goes_on(world):
    orchestrator = settled(world)
    before = world.only().id
    world.neutron.put_router(router(body="zeppelin"))
    orchestrator.event()
    orchestrator.run(60)
    [line] = orchestrator.engine.resources()
    assert line.phase == "waiting"
    assert "choose one of: memory, paper" in line.because
    assert world.only().id == before


def test_an_instance_made_from_another_image_than_the_one_named_is_replaced(world):
    orchestrator = settled(world, image="stable")
    before = world.only()
    assert before.image_name == "stable"
    world.neutron.put_router(router(image="next"))
    orchestrator.event()
    orchestrator.run(60)
    assert (world.only().image_name, orchestrator.phase()) == ("next", "configured")
    assert world.only().id != before.id


def test_a_credential_that_ends_is_renewed_in_place(world):
    orchestrator = settled(world, ports=("p1",))
    before = world.only()
    before.credential_due = True
    world.cloud.calls.clear()
    orchestrator.run(600)
    assert (world.only(), before.credential_due, orchestrator.phase()) == (before, False, "configured")
    assert {call: n for call, n in world.cloud.calls.items() if not call.startswith("list")} == {"create": 1}
