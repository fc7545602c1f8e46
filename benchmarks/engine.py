"""What the engine itself costs, on simulated instances and a Neutron in memory: no network, no kernel.

    python benchmarks/engine.py [RESOURCES]

Prints events absorbed per second, reconciles per second (build, look that finds nothing), CPU of the bulk
looks, and memory per settled resource. One thread, so that the numbers are the engine's and not the lock's.
Then: what a settled world costs in ten minutes, what a start costs that finds everything as it should be, how a burst
of events is coalesced, how long a tenant waits behind another's burst, and what a change of ring costs.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from msgspec import structs

from astara.cluster.ring import moves, without
from astara.model.boundaries import Event
from astara.model.cluster import Member, Ring
from astara.model.resource import ResourceKey
from support.builders.resources import router
from support.simulation import Orchestrator, World


def main(resources: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    world = World()
    for number in range(resources):
        world.neutron.put_router(router(f"r{number:06d}", ports=(f"p{number}",)))
    orchestrator = world.orchestrator()
    orchestrator.engine.schedule.run_due()
    tell("build (create, push, two reports)", resources, timed(orchestrator.work), "reconciles/s")
    tell("settled look by event", resources, timed(lambda: touch_all(orchestrator, resources)), "reconciles/s")
    burst = [Event("port.update.end", {"router": (f"r{n % resources:06d}",)}) for n in range(100_000)]
    tell(
        "events absorbed", len(burst), timed(lambda: [orchestrator.engine.notify(event) for event in burst]), "events/s"
    )
    orchestrator.work()
    looks = orchestrator.engine.schedule._looks
    print(f"{'full look, CPU':40}{timed(looks.full):12.3f} s for {resources}")
    print(f"{'drift look, CPU':40}{timed(looks.drift):12.3f} s for {resources}")
    print(f"{'settled, ten minutes, CPU':40}{timed(lambda: orchestrator.run(600)) / 600:12.2%} of a core")
    burst_of_events(orchestrator, resources)
    print(f"{'a tenant waits behind another':40}{turns_behind(orchestrator, resources):12} turns of a worker")
    print(f"{'start to all verified, CPU':40}{timed(lambda: started(world)):12.3f} s for {resources}")
    print(f"{'ring of ten loses one: who has what':40}{timed(lambda: shared_anew(resources)):12.3f} s for {resources}")
    print(f"{'memory of the engine, settled':40}{memory_per_resource(world, resources):12.1f} KiB per resource")


def burst_of_events(orchestrator: Orchestrator, resources: int) -> None:
    """Ten seconds of 5000 events each, over all resources, all at once; how many looks they become."""
    looks = 0
    for number in range(50_000):
        orchestrator.event(f"r{number % resources:06d}")
    while orchestrator.engine.workers.work_one(0.0):
        looks += 1
    print(f"{'50 000 events become':40}{looks:12} looks")


def turns_behind(orchestrator: Orchestrator, resources: int) -> int:
    """How many turns a tenant's one event waits that comes after another tenant's burst."""
    orchestrator.world.neutron.put_router(structs.replace(router("quiet"), project_id="quiet"))
    orchestrator.event("quiet")
    orchestrator.work()
    for number in range(resources):
        orchestrator.event(f"r{number:06d}")
    orchestrator.event("quiet")
    turns = 0
    while orchestrator.engine.inbox.next_look_at(ResourceKey("router", "quiet")) is not None:
        orchestrator.engine.workers.work_one(0.0)
        turns += 1
    orchestrator.work()
    return turns


def started(world: World) -> None:
    orchestrator = world.orchestrator()
    orchestrator.engine.schedule.run_due()
    orchestrator.work()


def shared_anew(resources: int) -> None:
    members = tuple(Member(name=f"orchestrator-{number}", incarnation="1") for number in range(10))
    ring = Ring(epoch=1, members=members)
    moves(ring, without(ring, members[0].name), [f"router/r{number:06d}" for number in range(resources)])


def touch_all(orchestrator: Orchestrator, resources: int) -> None:
    for number in range(resources):
        orchestrator.event(f"r{number:06d}")
    orchestrator.work()


def memory_per_resource(world: World, resources: int) -> float:
    """Measure a second orchestrator that finds everything settled; the world itself is not counted."""
    gc.collect()
    tracemalloc.start()
    orchestrator = world.orchestrator()
    orchestrator.engine.schedule.run_due()
    orchestrator.work()
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert set(orchestrator.engine.ledger.phases()) == {"configured"}
    return size / resources / 1024


def timed(deed) -> float:
    began = time.process_time()
    deed()
    return time.process_time() - began


def tell(what: str, count: int, seconds: float, unit: str) -> None:
    print(f"{what:40}{count / seconds:12.0f} {unit}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
