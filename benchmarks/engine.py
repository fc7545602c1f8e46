"""What the engine itself costs, on simulated instances and a Neutron in memory: no network, no kernel.

    python benchmarks/engine.py [RESOURCES]

Prints events absorbed per second, reconciles per second (build, look that finds nothing), CPU of the bulk
looks, and memory per settled resource. One thread, so that the numbers are the engine's and not the lock's.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from astara.model.boundaries import Event
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
    print(f"{'memory of the engine, settled':40}{memory_per_resource(world, resources):12.1f} KiB per resource")


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
    assert orchestrator.engine.ledger.phases() == {"configured": resources}
    return size / resources / 1024


def timed(deed) -> float:
    began = time.process_time()
    deed()
    return time.process_time() - began


def tell(what: str, count: int, seconds: float, unit: str) -> None:
    print(f"{what:40}{count / seconds:12.0f} {unit}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
