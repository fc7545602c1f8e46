"""Nodes that die, come back, or are drained: what is on them is placed elsewhere, the whole orchestrator simulated."""

from __future__ import annotations

import pytest

from astara.contract.agent import Health
from astara.model.resource import ResourceKey
from astara.planning.rollout import Budget
from astara.reconcile.evacuation import NODE, HealingOptions
from support.builders.resources import network, router
from support.simulation import Orchestrator, World

NODES = ("h1", "h2", "h3")


@pytest.fixture
def world() -> World:
    world = World(nodes=NODES, healing=HealingOptions(node_patience_s=60.0, budget=Budget(per_node=2, in_total=3)))
    world.neutron.announce_nodes([(name, True) for name in NODES])
    return world


def furnished(world: World, singles: int = 3, pairs: int = 2) -> Orchestrator:
    for number in range(singles):
        world.neutron.put_router(router(f"s{number}", host="h1", ports=("p",)))
    for number in range(pairs):
        hosts = "h1,h2" if number % 2 else "h2,h1"
        world.neutron.put_router(router(f"t{number}", host=hosts, ports=("p",), slots="a,b"))
    world.neutron.put_network(network("n0", host="h1"))
    orchestrator = world.orchestrator()
    orchestrator.run(60)
    assert {line.phase for line in orchestrator.engine.resources()} == {"configured"}
    return orchestrator


def homes(world: World) -> dict[str, list[str]]:
    return {name: sorted(one.host for one in found) for name, found in world.instances().items()}


def on(world: World, host: str) -> set[str]:
    return {one.key.id for one in world.cloud.instances.values() if one.host == host}


def test_what_was_on_a_node_that_stays_dead_is_placed_elsewhere_and_pairs_stay_apart(world):
    orchestrator = furnished(world)
    world.silence("h1")
    orchestrator.run(50)
    assert on(world, "h2") == {"t0", "t1"}, "patience"
    orchestrator.run(120)
    alive = {name: [host for host in hosts if host != "h1"] for name, hosts in homes(world).items()}
    assert {name: len(set(hosts)) for name, hosts in alive.items()} == {
        "s0": 1, "s1": 1, "s2": 1, "t0": 2, "t1": 2, "n0": 1
    }  # fmt: skip
    assert {line.phase for line in orchestrator.engine.resources()} == {"configured"}


def test_when_a_dead_node_comes_back_no_two_hosts_serve_one_slot(world):
    orchestrator = furnished(world)
    world.silence("h1")
    orchestrator.run(200)
    assert on(world, "h1") == {"s0", "s1", "s2", "t0", "t1", "n0"}, "nothing is deleted where nobody answers"
    world.answers("h1")
    orchestrator.run(40)
    assert on(world, "h1") == set()
    for name, found in world.instances().items():
        assert len({one.slot for one in found}) == len(found), name


def test_a_node_that_comes_back_in_time_keeps_what_it_has(world):
    orchestrator = furnished(world)
    before = homes(world)
    world.silence("h1")
    orchestrator.run(50)
    world.answers("h1")
    orchestrator.run(200)
    assert homes(world) == before


def test_who_hears_hardly_any_node_does_nothing_and_says_so_until_an_operator_knows_better(world):
    orchestrator = furnished(world)
    before = homes(world)
    world.silence("h1", "h3")
    orchestrator.run(300)
    assert homes(world) == before
    assert "2 of 3 nodes do not answer" in orchestrator.evacuation.verdict.brake
    orchestrator.evacuation.release()
    orchestrator.run(200)
    assert on(world, "h2") == {"s0", "s1", "s2", "t0", "t1", "n0"}


def test_who_does_not_reach_neutron_does_nothing(world):
    orchestrator = furnished(world)
    before = homes(world)
    world.silence("h1")
    world.neutron.down = True
    orchestrator.run(300)
    assert homes(world) == before
    world.neutron.down = False
    orchestrator.run(200)
    assert "s0" in on(world, "h2") | on(world, "h3")


def test_a_drained_node_is_emptied_within_the_budget_and_nobody_of_a_pair_is_without_the_other(world):
    orchestrator = furnished(world, singles=6, pairs=4)
    most = 0

    def look(when: str, operation: str) -> None:
        nonlocal most
        if operation.startswith("list"):
            return
        serving = {
            name: [one for one in found if one.health is Health.HEALTHY] for name, found in world.instances().items()
        }
        assert all(serving.values()), f"{when} {operation}: {[name for name, found in serving.items() if not found]}"
        pairs = [name for name, found in serving.items() if name.startswith("t") and len(found) < 2]
        singles = [name for name, found in world.instances().items() if name.startswith("s") and len(found) > 1]
        most = max(most, len(pairs) + len(singles))

    world.cloud.watch = look
    orchestrator.engine.holds.hold(ResourceKey(NODE, "h1"), "new disks")
    orchestrator.run(200)
    assert on(world, "h1") == set()
    assert {line.phase for line in orchestrator.engine.resources()} == {"configured"}
    assert 1 <= most <= 3
    assert orchestrator.evacuation.left()["h1"] == 0


def test_draining_goes_on_after_a_restart_and_ends_when_it_is_taken_back(world):
    orchestrator = furnished(world, singles=6)
    orchestrator.engine.holds.hold(ResourceKey(NODE, "h1"), "new disks")
    orchestrator.run(2.5)
    left = len(on(world, "h1"))
    assert left > 0
    later = world.orchestrator()
    later.run(200)
    assert on(world, "h1") == set()
    later.engine.holds.release(ResourceKey(NODE, "h1"))
    before = homes(world)
    later.run(200)
    assert homes(world) == before


def test_a_degraded_pair_is_told_every_change_and_its_dead_half_is_replaced(world):
    orchestrator = furnished(world, singles=0, pairs=1)
    [lost] = [one for one in world.instances()["t0"] if one.host == "h1"]
    world.silence("h1")
    world.neutron.put_router(router("t0", host="h2,h1", ports=("p",), slots="a,b", routes=("10.9.0.0/16",)))
    orchestrator.event("t0")
    orchestrator.run(10)
    [kept] = [one for one in world.instances()["t0"] if one.host == "h2"]
    assert kept.digest != lost.digest, "the half that is there is configured while the other one is not"
    orchestrator.run(150)
    halves = [one for one in world.instances()["t0"] if one.host != "h1"]
    assert {(one.host, one.digest) for one in halves} == {("h2", kept.digest), ("h3", kept.digest)}


def test_where_there_is_no_room_it_says_so_and_the_other_half_goes_on(world):
    world.nodes = ("h1", "h2")
    orchestrator = furnished(world, singles=0, pairs=2)
    before = homes(world)
    orchestrator.engine.holds.hold(ResourceKey(NODE, "h1"), "new disks")
    orchestrator.run(100)
    assert {name: homes(world)[name] for name in ("t0", "t1")} == {name: before[name] for name in ("t0", "t1")}
    assert orchestrator.evacuation.homeless()["h1"] == 2
