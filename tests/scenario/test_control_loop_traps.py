"""Each test carries the name of a trap that caught an earlier system (the W-numbers), and looks at the end state."""

from __future__ import annotations

import pytest

from astara.contract.agent import Health
from astara.contract.generation import Generation
from astara.model.errors import Retry
from astara.model.resource import ResourceKey
from astara.planning.policy import Policy
from astara.providers.memory.cloud import MemoryCloud
from astara.providers.memory.provider import MemoryProvider
from astara.reconcile.options import EngineOptions
from support.builders.resources import network, router
from support.simulation import Orchestrator, World

R1 = ResourceKey("router", "r1")


@pytest.fixture
def world() -> World:
    return World()


def settled(world: World, count: int = 1, **wish: object) -> Orchestrator:
    for number in range(1, count + 1):
        world.neutron.put_router(router(f"r{number}", **wish))
    orchestrator = world.orchestrator()
    orchestrator.run(60)
    assert all(line.phase == "configured" for line in orchestrator.engine.resources())
    return orchestrator


def shown(world: World, identifier: str = "r1") -> str:
    return world.neutron.routers_by_id[identifier].status


def test_w5_a_hung_instance_is_replaced_after_its_deadline(world):
    orchestrator = settled(world)
    hung = world.only().id
    world.cloud.hang(hung)
    orchestrator.run(100)
    assert world.only().id == hung
    orchestrator.run(200)
    assert world.only().id != hung
    assert world.only().health is Health.HEALTHY


def test_w6_a_configuration_error_never_loops_hot(world):
    orchestrator = settled(world)
    world.neutron.put_router(router(routes=("10.9.0.0/24",)))
    wished = orchestrator.engine.inspect(R1).desired.instances[0].digest
    world.cloud.refused[wished] = "dnsmasq: bad option at line 3"
    world.cloud.calls.clear()
    for _ in range(600):
        orchestrator.event()
        orchestrator.run(1)
    assert world.cloud.calls["push"] < 10
    [line] = orchestrator.engine.resources()
    assert "dnsmasq: bad option at line 3" in line.because
    assert shown(world) == "ERROR"
    assert len(world.instances()["r1"]) == 1  # a refused wish is no reason to rebuild


def test_w6_a_corrected_wish_is_tried_at_once(world):
    orchestrator = settled(world)
    world.neutron.put_router(router(routes=("10.9.0.0/24",)))
    world.cloud.refused[orchestrator.engine.inspect(R1).desired.instances[0].digest] = "no"
    orchestrator.run(400)
    world.neutron.put_router(router(routes=("10.8.0.0/24",)))
    orchestrator.event()
    orchestrator.run(0)
    assert orchestrator.phase() == "configured"
    assert shown(world) == "ACTIVE"


def test_w6_an_instance_that_stays_degraded_although_pushed_again_does_not_loop_hot(world):
    orchestrator = settled(world)
    world.cloud.degrade(world.only().id, stuck=True)
    world.cloud.calls.clear()
    for _ in range(120):
        orchestrator.engine.instance_changed(R1)
        orchestrator.run(1)
    assert world.cloud.calls["push"] <= 10
    assert shown(world) in ("DOWN", "ERROR")
    orchestrator.run(400)  # and in the end it is replaced
    assert world.only().health is Health.HEALTHY
    assert shown(world) == "ACTIVE"


def test_w7_a_degraded_instance_still_gets_its_configuration(world):
    orchestrator = settled(world)
    degraded = world.only().id
    world.cloud.degrade(degraded)
    world.neutron.put_router(router(routes=("10.9.0.0/24",)))
    orchestrator.event()
    orchestrator.run(0)
    assert world.only().id == degraded
    assert world.only().health is Health.HEALTHY
    assert orchestrator.phase() == "configured"


def test_w8_removing_several_ports_detaches_exactly_these(world):
    orchestrator = settled(world, ports=("p1", "p2", "p3", "p4"))
    world.neutron.put_router(router(ports=("p2", "p4")))
    orchestrator.event()
    orchestrator.run(0)
    assert set(world.only().ports) == {"p2", "p4"}


def test_w8_a_removed_port_is_let_go_even_when_the_new_configuration_is_refused(world):
    orchestrator = settled(world, ports=("p1", "p2"))
    world.neutron.put_router(router(ports=("p1",)))
    world.cloud.refused[orchestrator.engine.inspect(R1).desired.instances[0].digest] = "no"
    orchestrator.event()
    orchestrator.run(0)
    assert set(world.only().ports) == {"p1"}


def test_w9_a_boot_that_fails_five_times_backs_off(world):
    world.cloud.boots_slowly = True
    world.neutron.put_router(router())
    policy = Policy(silent_deadline_s=10.0)
    orchestrator = world.orchestrator(EngineOptions(policy=policy))
    orchestrator.run(3000)
    assert world.cloud.calls["create"] <= policy.rebuild_budget + 1
    assert shown(world) == "ERROR"
    world.cloud.boots_slowly = False
    orchestrator.run(policy.rebuild_window_s)  # nobody had to do anything
    assert orchestrator.phase() == "configured"
    assert shown(world) == "ACTIVE"


def test_w9_a_create_that_fails_again_and_again_backs_off(world):
    world.neutron.put_router(router())
    for _ in range(200):
        world.cloud.inject("create", Retry("no memory left"))
    orchestrator = world.orchestrator()
    orchestrator.run(600)
    assert world.cloud.calls["create"] < 25
    assert shown(world) == "ERROR"


def test_w10_both_members_of_a_pair_are_never_rebuilt_at_once(world):
    orchestrator = settled(world, slots="a,b", host="h1,h2")
    first, second = (instance.id for instance in world.instances()["r1"])
    least = 2

    def watch(_when: str, _operation: str) -> None:
        nonlocal least
        least = min(least, sum(i.health is Health.HEALTHY for i in world.instances().get("r1", [])))

    world.cloud.watch = watch
    orchestrator.engine.rebuild(R1)
    orchestrator.run(300)
    world.cloud.watch = None
    assert least == 1
    assert not {first, second} & set(world.cloud.instances)
    assert len(world.instances()["r1"]) == 2


def test_w13_one_stuck_resource_never_slows_another(world):
    for number in range(1, 4):
        world.neutron.put_router(router(f"r{number}", host="dead" if number == 1 else "h1"))
    world.cloud.unreachable.add("dead")
    orchestrator = world.orchestrator()
    orchestrator.run(0)
    assert orchestrator.phase("r2") == orchestrator.phase("r3") == "configured"
    assert orchestrator.phase("r1") == "unreachable"


def test_w14_the_old_owner_neither_boots_nor_deletes_while_the_new_one_works(world):
    older = settled(world)
    newer = world.orchestrator()
    world.neutron.put_router(router(routes=("10.9.0.0/24",)))
    newer.run(60)
    pushes = world.only().pushes
    world.cloud.drift(world.only().id)
    older.run(60)
    assert world.only().pushes == pushes
    newer.run(60)
    assert orchestrated(world) == ["healthy"]


def orchestrated(world: World) -> list[str]:
    return [instance.health.value for instance in world.cloud.instances.values()]


def test_w32_a_settled_system_asks_neutron_the_same_whatever_its_size():
    def calls_per_hour(routers: int) -> dict[str, int]:
        world = World()
        orchestrator = settled(world, routers)
        world.neutron.calls.clear()
        orchestrator.run(3000)
        assert not world.neutron.asked - routers  # each was asked for once, when it was built
        return world.neutron.calls

    assert calls_per_hour(5) == calls_per_hour(60)
    assert set(calls_per_hour(5)) == {"changes"}


def test_active_is_never_reported_before_anything_runs(world):
    world.cloud.boots_slowly = True
    world.neutron.put_router(router())  # Neutron itself creates routers ACTIVE
    orchestrator = world.orchestrator()
    orchestrator.run(10)
    assert shown(world) == "DOWN"
    world.cloud.answers(world.only().id)
    orchestrator.run(10)
    assert shown(world) == "ACTIVE"


def test_the_status_is_updated_when_a_repair_fails(world):
    orchestrator = settled(world)
    world.cloud.lose(world.only().id)
    for _ in range(50):
        world.cloud.inject("create")
    orchestrator.engine.instance_changed(R1)
    orchestrator.run(5)
    assert shown(world) == "DOWN"
    orchestrator.run(200)
    assert shown(world) == "ERROR"


def test_drift_is_seen_and_repaired_without_an_event(world):
    orchestrator = settled(world)
    world.cloud.drift(world.only().id)
    world.neutron.calls.clear()
    orchestrator.run(60)
    assert orchestrator.phase() == "configured"
    assert world.only().digest != "drifted"


def test_no_mass_rebuild_because_the_monitor_lost_its_network(world):
    orchestrator = settled(world, 20)
    before = set(world.cloud.instances)
    for identifier in before:
        world.cloud.hang(identifier)
    orchestrator.run(3600)
    assert set(world.cloud.instances) == before
    assert orchestrator.engine.brake().engaged
    for identifier in before:
        world.cloud.answers(identifier)
    orchestrator.run(180)
    assert not orchestrator.engine.brake().engaged
    assert set(world.cloud.instances) == before


def test_the_brake_is_released_by_the_operator_when_they_are_really_dead(world):
    orchestrator = settled(world, 20)
    before = set(world.cloud.instances)
    for identifier in before:
        world.cloud.hang(identifier)
    orchestrator.run(600)
    orchestrator.engine.release_brake()
    orchestrator.run(600)
    assert not before & set(world.cloud.instances)
    assert orchestrated(world) == ["healthy"] * 20


def test_a_node_that_lost_everything_is_rebuilt_without_a_brake(world):
    orchestrator = settled(world, 20)
    for identifier in list(world.cloud.instances):
        world.cloud.lose(identifier)
    orchestrator.run(40)
    assert orchestrated(world) == ["healthy"] * 20


def test_an_unreachable_host_loses_no_instance_and_none_is_made_elsewhere(world):
    orchestrator = settled(world, 3)
    before = {i.id: i.host for i in world.cloud.instances.values()}
    world.cloud.unreachable.add("h1")
    world.neutron.delete_router("r3")
    orchestrator.event("r3")
    orchestrator.run(3600)
    assert {i.id: i.host for i in world.cloud.instances.values()} == before
    assert shown(world) == "ACTIVE"  # for all we know it forwards
    world.cloud.unreachable.clear()
    orchestrator.run(60)
    assert sorted(world.instances()) == ["r1", "r2"]


def test_a_move_makes_before_it_breaks(world):
    orchestrator = settled(world)
    least = 1

    def watch(_when: str, _operation: str) -> None:
        nonlocal least
        least = min(least, orchestrated(world).count("healthy"))

    world.cloud.watch = watch
    world.neutron.put_router(router(host="h2"))
    orchestrator.event()
    orchestrator.run(0)
    world.cloud.watch = None
    assert least == 1
    assert world.only().host == "h2"


def test_a_move_from_an_unreachable_host_goes_on_and_clears_up_later(world):
    orchestrator = settled(world)
    world.cloud.unreachable.add("h1")
    world.neutron.put_router(router(host="h2"))
    orchestrator.event()
    orchestrator.run(0)
    assert {i.host for i in world.cloud.instances.values()} == {"h1", "h2"}
    assert shown(world) == "ACTIVE"
    world.cloud.unreachable.clear()
    orchestrator.run(60)
    assert world.only().host == "h2"


def test_a_move_to_an_unreachable_host_keeps_the_old_instance(world):
    orchestrator = settled(world)
    world.cloud.unreachable.add("h2")
    world.neutron.put_router(router(host="h2"))
    orchestrator.event()
    orchestrator.run(3600)
    assert world.only().host == "h1"


def test_neutron_away_for_an_hour_changes_nothing_and_needs_nobody_afterwards(world):
    orchestrator = settled(world, 3)
    before = world.shape()
    world.neutron.down = True
    world.neutron.calls.clear()
    for _ in range(60):
        orchestrator.event()
        orchestrator.run(60)
    assert world.cloud.instances
    assert world.shape() == before
    world.neutron.down = False
    world.neutron.put_router(router("r9"))  # its event is lost
    orchestrator.run(120)
    assert orchestrator.phase("r9") == "configured"


def test_a_node_that_comes_back_does_not_wait_for_a_back_off(world):
    orchestrator = settled(world)
    world.cloud.lose(world.only().id)
    for _ in range(5):
        world.cloud.inject("create")
    orchestrator.engine.instance_changed(R1)
    orchestrator.run(20)
    assert not world.cloud.instances
    orchestrator.engine.resync("node h1 is here again")
    orchestrator.run(0)
    assert orchestrated(world) == ["healthy"]


def test_a_stuck_resource_is_never_stuck_for_ever__every_phase_names_its_next_look(world):
    world.neutron.put_router(router("r1", host=None))
    world.neutron.put_router(router("r2", host="dead"))
    world.cloud.unreachable.add("dead")
    orchestrator = world.orchestrator()
    orchestrator.run(100)
    for line in orchestrator.engine.resources():
        assert line.next_look_in_s is not None
        assert line.because


def test_a_held_resource_is_left_alone_across_a_restart(world):
    orchestrator = settled(world)
    orchestrator.engine.hold(R1, "debugging")
    world.cloud.lose(world.only().id)
    orchestrator.run(600)
    successor = world.orchestrator()
    successor.run(600)
    assert not world.cloud.instances
    [line] = successor.engine.resources()
    assert line.held
    assert line.hold_reason == "debugging"
    successor.engine.release(R1)
    successor.run(0)
    assert orchestrated(world) == ["healthy"]


def test_a_full_disk_never_stops_reconciling(world):
    world.records.disk_full = True
    settled(world)


def test_a_pruned_journal_leads_to_a_full_look(world):
    orchestrator = settled(world)
    world.neutron.put_router(router("r2"))
    world.neutron.put_router(router("r3"))
    world.neutron.forget_journal()
    orchestrator.run(30)
    assert orchestrator.phase("r3") == "configured"


def test_an_orphan_is_found_and_removed_without_an_event(world):
    orchestrator = settled(world)
    wanted = orchestrator.engine.inspect(R1).desired.instances[0]
    MemoryProvider(world.cloud).create(ResourceKey("router", "long-gone"), wanted, Generation(0, 1))
    orchestrator.run(60)
    assert sorted(world.instances()) == ["r1"]


def test_a_rebuilt_instance_that_keeps_its_id_is_not_rebuilt_again():
    class SameId(MemoryCloud):
        def next_id(self) -> str:
            return "instance-of-the-slot"

    world = World(cloud=SameId())
    orchestrator = settled(world)
    world.cloud.boots_slowly = True
    orchestrator.engine.rebuild(R1)
    orchestrator.run(100)
    assert world.cloud.calls["create"] == 2


def test_an_orphan_of_a_driver_that_is_not_enabled_is_left_alone(world):
    orchestrator = settled(world)
    world.only().key = ResourceKey("balancer", "x")
    world.neutron.delete_router("r1")
    orchestrator.run(7200)
    assert [str(i.key) for i in world.cloud.instances.values()] == ["balancer/x"]


def test_a_network_without_its_port_gets_one_and_a_moved_one_a_new_one(world):
    world.neutron.put_network(network(host="h1"))
    orchestrator = world.orchestrator()
    orchestrator.run(1)
    assert set(world.only("n1").ports) == {"dhcp-n1"}
    moved = world.neutron.networks_by_id["n1"]
    world.neutron.put_network(type(moved)(**{f: getattr(moved, f) for f in moved.__struct_fields__} | {"host": "h2"}))
    orchestrator.run(10)
    assert world.only("n1").host == "h2"


@pytest.mark.parametrize("away_s", [4, 600])
def test_what_could_not_be_looked_at_does_not_outlast_neutrons_absence(world, away_s):
    orchestrator = settled(world, 3)
    world.neutron.down = True
    world.cloud.lose(world.only().id)
    orchestrator.engine.instance_changed(R1)
    orchestrator.run(away_s)
    assert not world.instances().get("r1")
    world.neutron.down = False
    orchestrator.run(2)
    assert world.only().health is Health.HEALTHY


def test_an_orchestrator_that_started_without_neutron_looks_at_everything_as_soon_as_it_answers(world):
    world.neutron.put_router(router())
    world.neutron.down = True
    orchestrator = world.orchestrator()
    orchestrator.run(600)
    world.neutron.down = False
    orchestrator.run(2)
    assert orchestrator.phase() == "configured"


def test_a_neutron_that_is_away_is_asked_once_a_second_and_by_one_call_however_many_resources_wait(world):
    orchestrator = settled(world, 50)
    world.neutron.down = True
    for number in range(1, 51):
        orchestrator.event(f"r{number}")
    orchestrator.run(600)
    world.neutron.calls.clear()
    orchestrator.run(60)
    assert world.neutron.calls["changes"] <= 90
    assert world.neutron.calls["routers"] <= 75  # each once a minute, by its own back-off


def test_a_resource_that_neutron_cannot_answer_for_keeps_its_back_off_while_neutron_answers(world, monkeypatch):
    orchestrator = settled(world)
    asked = 0

    def broken(ids=None, marker=None, limit=200):
        nonlocal asked
        asked += 1
        raise Retry("500 Internal Server Error")

    monkeypatch.setattr(world.neutron, "routers", broken)
    orchestrator.event()
    orchestrator.run(600)
    assert asked < 30


def test_a_flapping_feed_does_not_have_everything_looked_at_all_the_time(world):
    orchestrator = settled(world)
    world.neutron.calls.clear()
    for _ in range(300):
        orchestrator.engine.resync("node h1 is here (again)")
        orchestrator.run(2)
    assert world.neutron.calls["routers"] <= 40
    orchestrator.run(60)
    looked_at = orchestrator.engine.schedule.full_at
    assert looked_at is not None
    assert world.clock.wall() - looked_at < 120  # the last one was not forgotten


def test_asking_for_a_full_look_never_postpones_the_one_that_is_due(world, monkeypatch):
    """Looks that failed count among those within the window: what comes back must not wait the longer for it."""
    orchestrator = settled(world)
    whole = world.neutron.routers

    def pages_fail(ids=None, marker=None, limit=200):
        if ids is None:
            raise Retry("500 Internal Server Error")
        return whole(ids=ids, marker=marker, limit=limit)

    with monkeypatch.context() as patched:
        patched.setattr(world.neutron, "routers", pages_fail)
        orchestrator.engine.resync("rabbit feed reconnected")
        orchestrator.run(8)
    healed_at = world.clock.wall()
    orchestrator.engine.resync("node h1 is here (again)")
    orchestrator.run(20)
    assert orchestrator.engine.schedule.full_at >= healed_at
