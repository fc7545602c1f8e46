"""Nodes that die, come back, or are drained: what is on them is placed elsewhere, the whole orchestrator simulated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from msgspec import structs

from astara.contract.agent import Health, Role, StateView
from astara.contract.snapshot import DhcpPortRequest, PortSnapshot
from astara.model.errors import Retry, Terminal
from astara.model.resource import ObservedInstance, ResourceKey
from astara.planning.rollout import Budget
from astara.providers.memory.cloud import MemoryCloud, Simulated
from astara.reconcile.evacuation import NODE, HealingOptions
from astara.reconcile.resync import Surveyed
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


def drain(orchestrator: Orchestrator, host: str = "h1") -> None:
    orchestrator.engine.holds.hold(ResourceKey(NODE, host), "new disks")


@pytest.mark.parametrize("error", [Terminal("no such router"), Retry("its port cannot be bound")])
def test_one_that_cannot_be_placed_holds_up_nobody(world, monkeypatch, error):
    orchestrator = furnished(world, singles=6)
    real = world.neutron.place

    def refusing(placements: Sequence[tuple[str, str, str]], term: int | None = None) -> None:
        if placements[0][1] == "s0":
            raise error
        real(placements, term)

    monkeypatch.setattr(world.neutron, "place", refusing)
    drain(orchestrator)
    orchestrator.run(200)
    assert on(world, "h1") == {"s0"}
    monkeypatch.undo()
    orchestrator.run(100)
    assert on(world, "h1") == set()


def test_what_is_placed_back_by_an_older_wish_is_placed_elsewhere_again(world):
    orchestrator = furnished(world)
    world.silence("h1")
    while "n0" not in on(world, "h2") | on(world, "h3"):
        orchestrator.run(1)
    world.neutron.put_network(network("n0", host="h1"))
    world.cloud.instances = {
        name: one for name, one in world.cloud.instances.items() if one.key.id != "n0" or one.host == "h1"
    }
    orchestrator.event("n0", "network")
    orchestrator.run(30)
    assert "n0" in on(world, "h2") | on(world, "h3")


def test_a_network_that_has_no_port_yet_is_placed_elsewhere_too(world, monkeypatch):
    orchestrator = furnished(world)
    world.silence("h1")
    real = world.neutron.ensure_dhcp_port

    def unbound(request: DhcpPortRequest, term: int | None = None) -> PortSnapshot:
        if request.host == "h1":
            raise Retry("its layer-2 agent is away")
        return real(request, term)

    monkeypatch.setattr(world.neutron, "ensure_dhcp_port", unbound)
    world.neutron.put_network(network("bare", host="h1"))
    orchestrator.event("bare", "network")
    orchestrator.run(200)
    assert "bare" in on(world, "h2") | on(world, "h3")


def surveys(orchestrator: Orchestrator) -> list[float]:
    """Return the times of all looks at everything from now on, as they come."""
    looks, at = orchestrator.engine.looks, list[float]()
    real = looks.survey

    def counted() -> Iterator[Surveyed]:
        at.append(orchestrator.world.clock.now())
        return real()

    looks.survey = counted  # type: ignore[method-assign]
    return at


def test_a_large_node_is_left_without_asking_for_everything_at_every_step(world):
    orchestrator = furnished(world, singles=60)
    began, looked = world.clock.now(), surveys(orchestrator)
    drain(orchestrator)
    while on(world, "h1"):
        orchestrator.run(1)
    assert len(looked) <= 2 + (world.clock.now() - began) / 10


@pytest.mark.parametrize("nodes", [NODES, ("h1", "h2")])
def test_a_node_that_stays_dead_costs_hardly_anything_whether_or_not_there_is_room(world, nodes):
    world.nodes = nodes
    orchestrator = furnished(world, singles=0)
    drain(orchestrator)
    orchestrator.run(120)
    looked = surveys(orchestrator)
    orchestrator.run(3600)
    assert len(looked) <= 3600 / 300 + 5


@pytest.mark.parametrize("taken_over", [True, False])
def test_a_half_that_is_still_heard_by_the_other_one_is_not_made_a_second_time(world, monkeypatch, taken_over):
    active = {"h1"}
    real = MemoryCloud.observed

    def with_roles(cloud: MemoryCloud, one: Simulated) -> ObservedInstance:
        seen = real(cloud, one)
        if not isinstance(seen.state, StateView) or not one.key.id.startswith("t"):
            return seen
        role = Role.ACTIVE if one.host in active else Role.STANDBY
        return replace(seen, state=structs.replace(seen.state, role=role))

    monkeypatch.setattr(MemoryCloud, "observed", with_roles)
    orchestrator = furnished(world, singles=1, pairs=1)
    world.silence("h1")  # to us; its tenants and the other half of t0 may hear it
    orchestrator.run(300)
    assert "s0" in on(world, "h2") | on(world, "h3")
    assert {one.host for one in world.instances()["t0"]} == {"h1", "h2"}
    assert "h1 is silent, and the other halves of 1 pairs there stand by" in orchestrator.evacuation.brake
    if taken_over:
        active.add("h2")
    else:
        orchestrator.evacuation.release()
    orchestrator.run(100)
    assert {one.host for one in world.instances()["t0"]} == {"h1", "h2", "h3"}
    assert orchestrator.evacuation.brake == ""
