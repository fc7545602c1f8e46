"""The engine with its real threads and the real clock, on the simulated cloud."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import structlog

from astara.model.boundaries import Event
from astara.model.errors import Gone, Retry
from astara.model.resource import ResourceKey
from astara.providers.memory.cloud import MemoryCloud
from astara.providers.memory.provider import MemoryProvider
from astara.reconcile.clock import SystemClock
from astara.reconcile.engine import Engine
from astara.reconcile.options import EngineOptions
from astara.reconcile.share import SoleOwner
from support.builders.resources import router
from support.fakes.drivers import SlottedRouters
from support.fakes.neutron import FakeNeutron
from support.fakes.records import FakeRecords
from support.simulation import World

R1 = ResourceKey("router", "r1")


def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    clock = SystemClock()
    deadline = clock.now() + within_s
    while not condition():
        assert clock.now() < deadline, "it did not happen in time"
        threading.Event().wait(0.002)


def test_threads_build_many_at_once_share_their_calls_and_stop_when_told():
    neutron, cloud = FakeNeutron(), MemoryCloud()
    for number in range(100):
        neutron.put_router(router(f"r{number}"))
    engine = Engine(
        neutron=neutron,
        drivers={"router": SlottedRouters()},
        providers={"memory": MemoryProvider(cloud)},
        records=FakeRecords(),
        clock=SystemClock(),
        ownership=SoleOwner(1),
        options=EngineOptions(workers=8),
    )
    engine.start()
    try:
        until(lambda: engine.ledger.phases() == {"configured": 100})
        neutron.put_router(router("new"))
        engine.notify(Event("router.create.end", {"router": ("new",)}))
        until(lambda: engine.ledger.phases() == {"configured": 101})
    finally:
        assert engine.stop(10.0)
    assert len(cloud.instances) == 101
    assert neutron.calls["routers"] <= 102
    assert not [thread for thread in threading.enumerate() if thread.name in ("resync",)]


def test_a_bug_in_one_resource_stops_neither_the_worker_nor_the_others(capsys):
    world = World()
    for name in ("r1", "r2"):
        world.neutron.put_router(router(name))
    orchestrator = world.orchestrator()
    good = orchestrator.engine._reconciler.reconcile

    def buggy(work):
        if work.key == R1:
            raise ZeroDivisionError
        return good(work)

    orchestrator.engine._reconciler.reconcile = buggy
    orchestrator.run(10)
    assert orchestrator.phase("r2") == "configured"
    assert "reconcile-crashed" in capsys.readouterr().out
    orchestrator.engine._reconciler.reconcile = good
    orchestrator.run(60)
    assert orchestrator.phase("r1") == "configured"


def test_one_reconcile_is_one_line_with_its_facts():
    world = World()
    world.neutron.put_router(router())
    orchestrator = world.orchestrator()
    with structlog.testing.capture_logs() as lines:
        orchestrator.event()
        orchestrator.work()
    [line] = [line for line in lines if line["event"] == "reconciled"]
    assert line["key"] == "router/r1"
    assert line["reasons"] == ("router.update.end",)
    assert line["phase"] == "absent"
    assert line["outcome"] == "settled"
    assert "create instance a on h1 (memory, 0 ports)" in line["steps"]
    assert {"because", "duration_ms"} <= set(line)


def test_inspecting_touches_nothing_and_says_what_would_be_done():
    world = World()
    world.neutron.put_router(router())
    orchestrator = world.orchestrator()
    inspection = orchestrator.engine.inspect(R1)
    assert "create instance a on h1 (memory, 0 ports)" in inspection.steps
    assert not world.cloud.instances
    with pytest.raises(Gone):
        orchestrator.engine.inspect(ResourceKey("router", "nobody"))
    with pytest.raises(Gone, match="balancer"):
        orchestrator.engine.inspect(ResourceKey("balancer", "x"))


def test_history_says_what_was_done_why_and_how_it_went():
    world = World()
    world.neutron.put_router(router())
    orchestrator = world.orchestrator()
    world.cloud.inject("push", Retry("busy"))
    orchestrator.run(30)
    lines = orchestrator.engine.history(R1)
    assert [line.outcome for line in lines] == ["retry", "settled"]
    assert "create instance a on h1 (memory, 0 ports)" in lines[0].steps
    assert any(step.startswith("push configuration") for step in lines[0].undone)
    assert not lines[1].undone
    assert {line.who for line in lines} == {"orchestrator"}
    assert {line.generation for line in lines} == {f"1.{world.neutron.revision}"}
    assert "busy" in lines[0].detail
    world.records.disk_full = True
    assert orchestrator.engine.history(R1) == lines, "from memory when the records fail"


def test_rebuild_makes_a_new_instance_once():
    world = World()
    world.neutron.put_router(router())
    orchestrator = world.orchestrator()
    orchestrator.run(1)
    old = world.only().id
    orchestrator.engine.rebuild(R1)
    orchestrator.run(300)
    assert world.only().id != old
    assert world.cloud.calls["create"] == 2
    with pytest.raises(Gone):
        orchestrator.engine.rebuild(ResourceKey("router", "nobody"))


def test_a_hold_that_is_not_durable_holds_all_the_same_and_says_so():
    world = World()
    world.neutron.put_router(router())
    world.records.disk_full = True
    orchestrator = world.orchestrator()
    with pytest.raises(Retry, match="not durable"):
        orchestrator.engine.hold(R1, "look")
    orchestrator.run(60)
    assert not world.cloud.instances


def test_looking_eagerly_ends_a_back_off():
    world = World()
    world.neutron.put_router(router())
    for _ in range(6):
        world.cloud.inject("create")
    orchestrator = world.orchestrator()
    orchestrator.run(40)
    assert orchestrator.phase() == "absent"
    orchestrator.engine.look(R1)
    orchestrator.run(0)
    assert orchestrator.phase() == "configured"


def test_a_mistyped_driver_is_refused_and_not_looked_for_ever_after():
    orchestrator = World().orchestrator()
    with pytest.raises(Gone, match="balancer"):
        orchestrator.engine.look(ResourceKey("balancer", "x"))
    assert not orchestrator.engine.inbox.knows(ResourceKey("balancer", "x"))


def test_a_gone_resource_is_forgotten():
    world = World()
    world.neutron.put_router(router())
    orchestrator = world.orchestrator()
    orchestrator.run(1)
    world.neutron.delete_router("r1")
    orchestrator.event()
    orchestrator.run(60)
    assert orchestrator.engine.resources() == ()
    assert not orchestrator.engine.inbox.knows(R1)
