"""Two thousand routers: what costs grow with is counted in calls, not in time."""

from __future__ import annotations

from astara.model.resource import ResourceKey
from support.builders.resources import network, router
from support.simulation import World

ROUTERS = 2000
PAGES = ROUTERS // 200


def test_two_thousand_routers_settle_and_then_cost_nothing_that_grows():
    world = World()
    for number in range(ROUTERS):
        world.neutron.put_router(router(f"r{number:04d}", ports=(f"p{number}",)))
    orchestrator = world.orchestrator()
    orchestrator.run(30)
    assert orchestrator.engine.ledger.phases() == {"configured": ROUTERS}
    assert world.cloud.calls["create"] == ROUTERS

    forget_counts(world)
    touched = world.cloud.changes
    orchestrator.run(600)
    assert set(world.neutron.calls) == {"changes"}
    assert world.neutron.asked == 0
    assert set(world.cloud.calls) == {"list"}
    assert world.cloud.changes == touched

    forget_counts(world)
    world.orchestrator().run(1)  # a restart verifies all of them: pages, one listing, and nothing per router
    assert world.neutron.calls.pop("changes") <= 2
    assert world.neutron.calls == {"routers": PAGES, "networks": 1}
    assert world.cloud.calls == {"list": 2}  # beside the pages, and the first drift look


def test_a_change_among_two_thousand_costs_that_one():
    world = World()
    for number in range(ROUTERS):
        world.neutron.put_router(router(f"r{number:04d}"))
    orchestrator = world.orchestrator()
    orchestrator.run(30)
    forget_counts(world)
    world.neutron.put_router(router("r0007", routes=("10.9.0.0/24",)))
    orchestrator.event("r0007")
    orchestrator.run(1)
    assert world.neutron.asked == 1
    assert world.cloud.calls.get("push") == 1


def test_new_work_is_done_before_what_is_left_of_a_look_at_everything():
    world = World()
    for number in range(500):
        world.neutron.put_router(router(f"r{number:04d}"))
    orchestrator = world.orchestrator()
    orchestrator.run(30)
    workers, inbox = orchestrator.engine.workers, orchestrator.engine.inbox
    orchestrator.engine.look(None)  # `astara resync --all`
    orchestrator.engine.schedule.run_due()
    turns = {"before": 0, "new": 0}
    for what, pieces in (("before", 3), ("new", 20)):
        for number in range(pieces):
            key = ResourceKey("router", f"{what}{number}")
            world.neutron.put_router(router(key.id))
            orchestrator.event(key.id)
            while inbox.knows(key):
                workers.work_one(0.0)
                turns[what] += 1
    assert turns["new"] <= 2 * 20, "at most one turn of the look at everything between an event and its own"
    assert len(world.instances()) == 523
    assert inbox.depth > 400, "the look at everything is not over yet"
    orchestrator.work()
    assert orchestrator.engine.ledger.phases() == {"configured": 523}


def test_a_network_without_service_is_looked_at_once_per_change_not_again_by_the_journal():
    world = World()
    orchestrator = world.orchestrator()
    orchestrator.run(30)
    for number in range(100):
        world.neutron.put_network(network(f"n{number:03d}", host=None))
        orchestrator.event(f"n{number:03d}", "network", "network.create.end")
    orchestrator.work()
    forget_counts(world)
    orchestrator.run(60)
    assert set(world.neutron.calls) == {"changes"}


def test_a_network_that_gets_its_service_later_is_found_by_the_journal():
    world = World()
    world.neutron.put_network(network("n1", host=None))
    orchestrator = world.orchestrator()
    orchestrator.run(30)
    orchestrator.event("n1", "network")
    orchestrator.work()
    world.neutron.put_network(network("n1"))
    orchestrator.run(30)
    assert orchestrator.phase("n1", "network") == "configured"


def test_what_an_api_request_has_committed_so_far_is_not_looked_at_before_its_event():
    world = World()
    orchestrator = world.orchestrator()
    world.neutron.put_router(router("r1"))
    orchestrator.run(30)
    orchestrator.event("r1")  # events arrive, so one that is missing still may
    orchestrator.work()
    forget_counts(world)
    for number in range(1, 7):  # whenever the journal is polled meanwhile
        world.neutron.put_router(router("r1", ports=(f"half-{number}",)))
        orchestrator.run(2.4)
        world.neutron.put_router(router("r1", ports=(f"half-{number}", f"whole-{number}")))
        orchestrator.event("r1")
        orchestrator.run(2.8)
    assert world.neutron.calls["routers"] == 6
    assert world.cloud.calls["push"] == 6


def test_a_change_whose_event_is_lost_is_found_within_two_polls_and_within_one_when_no_events_arrive():
    world = World()
    orchestrator = world.orchestrator()
    world.neutron.put_router(router("r1"))
    orchestrator.run(30)
    orchestrator.event("r1")
    world.neutron.put_router(router("r2"))
    orchestrator.run(10)
    assert orchestrator.phase("r2") == "configured"
    orchestrator.run(60)
    world.neutron.put_router(router("r3"))
    orchestrator.run(5)
    assert orchestrator.phase("r3") == "configured"


def forget_counts(world: World) -> None:
    world.neutron.calls.clear()
    world.cloud.calls.clear()
    world.neutron.asked = 0
