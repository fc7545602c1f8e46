"""Machines as bodies: start to an answering agent and to the first forwarded packet, cold and woken; memory of a clone.

    make image && tests/isolated env PYTHONPATH=tests .venv/bin/python benchmarks/machines.py --samples 5

Run it while nothing else does: without KVM a machine is as slow as the processor is busy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from astara.contract.document import document
from astara.contract.generation import Generation
from astara.drivers.router.schema import RouterSection
from support.builders.router import external, internal
from support.machines import agent_with_patience, deployment, has_template, host_on, machine_spec
from support.node_agent import Deployment, port
from support.segment import eventually
from support.terrain import terrain

_LAST = Generation(99, 0)
_PATIENCE_S = 120.0


def routers(node: Deployment, samples: int) -> dict[str, list[float]]:
    """Seconds from the request for a router to its answer, and to the first packet through it."""
    answered, forwarded = [], []
    with agent_with_patience(node) as (_, client), terrain(Path(tempfile.mkdtemp())) as land:
        _settle(node)
        for number in range(samples):
            instance = machine_spec(node.authority, port(), port())
            inner, outer = instance.ports
            section = RouterSection(
                router_id=instance.key.id,
                internal=(internal(inner.mac, "10.0.0.1/24"),),
                external=(external(outer.mac, "203.0.113.2/24", nexthops=("203.0.113.1",), snat="203.0.113.2"),),
            )
            began = time.monotonic()
            client.put_instance(instance)
            answered.append(time.monotonic() - began)
            client.configure(instance.id, document("router", Generation(1, 2), section))
            configured = time.monotonic() - began
            a = host_on(land, f"a{number}", inner, "10.0.0.5/24", via="10.0.0.1")
            outside = host_on(land, f"o{number}", outer, "203.0.113.1/24", via="")
            began = time.monotonic()
            outside.serve("203.0.113.1", 80)
            eventually(lambda a=a: a.reaches("203.0.113.1", 80), 30.0)
            forwarded.append(configured + time.monotonic() - began)
            client.delete_instance(instance.id, _LAST)
    return {"answer_s": answered, "packet_s": forwarded}


def memory(node: Deployment, count: int) -> float:
    """MB of memory that one idle machine more takes from the node."""
    with agent_with_patience(node) as (_, client):
        _settle(node)
        instances = [machine_spec(node.authority, port(), port()) for _ in range(count)]
        client.put_instance(instances[0])
        before = _available_mb()
        for instance in instances[1:]:
            client.put_instance(instance)
        taken = before - _available_mb()
        for instance in instances:
            client.delete_instance(instance.id, _LAST)
    return taken / (count - 1)


def _settle(node: Deployment) -> None:
    if node.options.microvm.templates:
        eventually(lambda: has_template(node), _PATIENCE_S)


def _available_mb() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--clones", type=int, default=6)
    asked = parser.parse_args()
    made: Callable[[bool], Deployment] = lambda warm: deployment(Path(tempfile.mkdtemp()), templates=warm)  # noqa: E731
    woken = made(True)
    found: dict[str, object] = {
        "cold": _told(routers(made(False), max(2, asked.samples // 2))),
        "woken": _told(routers(woken, asked.samples)),
        "clone_mb": round(memory(woken, asked.clones), 1),
    }
    print(json.dumps(found, indent=1))


def _told(samples: dict[str, list[float]]) -> dict[str, object]:
    return {
        name: {"median": round(statistics.median(found), 3), "all": [round(one, 3) for one in found]}
        for name, found in samples.items()
    }


if __name__ == "__main__":
    main()
