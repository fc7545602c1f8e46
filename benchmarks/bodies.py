"""Bodies: from the request for a router to its answer, and to the first packet through it; memory; the agent inside.

    make image && tests/isolated env PYTHONPATH=tests .venv/bin/python benchmarks/bodies.py --only woken,container

Run it while nothing else does: without KVM a machine is as slow as the processor is busy.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from astara.clients.appliance import NodeClient
from astara.contract.agent import SPARE, Body, InstanceSpec, Key
from astara.contract.document import document
from astara.contract.generation import ZERO, Generation
from astara.drivers.router.schema import RouterSection
from astara.host.bodies.microvm import machine
from astara.host.options import ContainerOptions
from support.builders.router import external, internal
from support.containers import container_options
from support.machines import (
    IMAGES,
    agent_with_patience,
    changed_image,
    credential,
    deployment,
    has_template,
    host_on,
    machine_spec,
)
from support.node_agent import NODE, Deployment, port, spec
from support.segment import eventually
from support.terrain import terrain

_LAST = Generation(99, 0)
_PATIENCE_S = 120.0
_MARK = "PYTHON STARTS"
_FROM_TEMPLATES = ("pooled", "woken", "memory", "spares")
#: Imported by every Python of the machine: the agent, which is a fork, says how large it is once it has settled.
_TELL_SIZE = """
import os, sys, threading
def tell():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    sys.stderr.write(" ".join(line for line in lines if line.startswith(("Rss", "Pss:", "Private_Dirty"))) + "\\n")
os.register_at_fork(after_in_child=lambda: threading.Timer(5.0, tell).start())
"""


def new(node: Deployment, kind: str) -> InstanceSpec:
    wish = spec(port(), port())
    if kind == "namespace":
        return wish
    return replace(wish, body=Body(kind=kind), credential=credential(node.authority, wish.id))


def spare_for(client: NodeClient, node: Deployment, wish: InstanceSpec) -> InstanceSpec:
    """Make a spare as a pool does; return the wish to have it become `wish`."""
    spare = InstanceSpec(id=str(uuid.uuid4()), key=Key(driver=SPARE, id="0"), slot=str(uuid.uuid4()), generation=ZERO)
    born_with = credential(node.authority, spare.id)
    client.put_instance(replace(spare, body=wish.body, credential=born_with))
    return replace(wish, adopt=spare.id, credential=born_with)


def routers(node: Deployment, samples: int, kind: str = "microvm", *, pooled: bool = False) -> dict[str, list[float]]:
    """Seconds from the request for a router to its answer, to its configuration, and to the first packet through it.

    `pooled`: there is a spare for each, whose making is told apart.
    """
    found: dict[str, list[float]] = {"answer_s": [], "configured_s": [], "packet_s": []}
    made: list[float] = []
    with agent_with_patience(node) as (_, client), terrain(Path(tempfile.mkdtemp())) as land:
        _settle(node)
        for number in range(samples):
            instance = new(node, kind)
            inner, outer = instance.ports
            section = RouterSection(
                router_id=instance.key.id,
                internal=(internal(inner.mac, "10.0.0.1/24"),),
                external=(external(outer.mac, "203.0.113.2/24", nexthops=("203.0.113.1",), snat="203.0.113.2"),),
            )
            began = time.monotonic()
            if pooled:
                instance = spare_for(client, node, instance)
                made.append(time.monotonic() - began)
                began = time.monotonic()
            client.put_instance(instance)
            found["answer_s"].append(time.monotonic() - began)
            client.configure(instance.id, document("router", Generation(1, 2), section))
            configured = time.monotonic() - began
            found["configured_s"].append(configured)
            # The hosts come after the bridges; what it takes to make them is not the router's.
            a = host_on(land, f"a{number}", inner, "10.0.0.5/24", via="10.0.0.1")
            outside = host_on(land, f"o{number}", outer, "203.0.113.1/24", via="")
            outside.serve("203.0.113.1", 80)
            began = time.monotonic()
            eventually(lambda a=a: a.reaches("203.0.113.1", 80), 30.0)
            found["packet_s"].append(configured + time.monotonic() - began)
            client.delete_instance(instance.id, _LAST)
    return {**found, "spare_s": made} if pooled else found


def memory(node: Deployment, count: int, *, spares: bool = False) -> dict[str, float]:
    """MB that one idle machine more takes: of the node's available memory, and of its process (PSS)."""
    with agent_with_patience(node) as (_, client):
        _settle(node)
        instances = [machine_spec(node.authority, *([] if spares else [port(), port()])) for _ in range(count)]
        if spares:
            instances = [replace(one, key=Key(driver=SPARE, id="0"), generation=ZERO) for one in instances]
        client.put_instance(instances[0])
        before = _available_mb()
        for instance in instances[1:]:
            client.put_instance(instance)
        taken = before - _available_mb()
        sizes = [_pss_mb(pid) for pid in machine.marked(NODE).values()]
        for instance in instances:
            client.delete_instance(instance.id, _LAST)
    return {"available_mb": round(taken / (count - 1), 1), "pss_mb": round(statistics.median(sizes), 1)}


def inside(samples: int) -> dict[str, object]:
    """Of a cold machine: Python's first instruction to the agent listening, and how large the agent is then."""
    found: list[float] = []
    said = ""
    for _ in range(samples):
        home = Path(tempfile.mkdtemp())
        node = deployment(home / "node", images_dir=changed_image(home, _marked))
        with agent_with_patience(node) as (_, client):
            instance = machine_spec(node.authority)
            console = node.options.state_dir / "instances" / instance.id / "body" / "console.log"
            client_thread = _in_background(lambda c=client, i=instance: c.put_instance(i))
            began = _seen(console, _MARK)
            found.append(_seen(console, "agent.serving") - began)
            client_thread()
            eventually(lambda c=console: "Private_Dirty" in c.read_text(), 60.0)
            said = "".join(line for line in console.read_text().splitlines() if "Private_Dirty" in line)
            client.delete_instance(instance.id, _LAST)
    sizes = {name: round(int(kb) / 1024, 1) for name, kb in re.findall(r"(\w+):\s+(\d+) kB", said)}
    return {"imports_to_listening_s": _median(found), "agent_mb": sizes}


def _marked(packages: Path) -> None:
    (packages / "tell_size.py").write_text(_TELL_SIZE)
    (packages / "tell_size.pth").write_text("import tell_size\n")
    init = packages.parents[4] / "init"
    start = "  exec /bin/busybox switch_root"
    init.write_text(init.read_text().replace(start, f"  /bin/busybox echo {_MARK} &&\n{start}"))


def _in_background(deed: Callable[[], object]) -> Callable[[], None]:
    import threading

    thread = threading.Thread(target=deed)
    thread.start()
    return thread.join


def _seen(console: Path, words: str) -> float:
    """Return when they stood on the console, to a few milliseconds."""
    while not (console.exists() and words in console.read_text(errors="replace")):
        time.sleep(0.002)
    return time.monotonic()


def of_image(directory: Path) -> ContainerOptions:
    """Containers of the appliance's image, as on a node."""
    root = directory / "root"
    root.mkdir()
    subprocess.run(["tar", "-xf", IMAGES / "root.tar", "-C", root], check=True)
    command = ContainerOptions().command
    return dataclasses.replace(container_options(), image="astara", roots=(("astara", root),), command=command)


def _settle(node: Deployment) -> None:
    if node.options.microvm.templates:
        eventually(lambda: has_template(node), _PATIENCE_S)


def _available_mb() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable:"))


def _pss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="namespace,container,pooled,woken,cold,memory,spares,inside")
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--clones", type=int, default=6)
    asked = parser.parse_args()
    for name in asked.only.split(","):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            began = os.getloadavg()[0]
            print(json.dumps({name: _measured(name, Path(directory), asked), "load": began}), flush=True)


def _measured(name: str, directory: Path, asked: argparse.Namespace) -> object:
    node = deployment(directory / "node", templates=name in _FROM_TEMPLATES)
    match name:
        case "namespace":
            return _told(routers(node, asked.samples, "namespace"))
        case "container":
            options = dataclasses.replace(node.options, container=of_image(directory))
            return _told(routers(dataclasses.replace(node, options=options), asked.samples, "container"))
        case "pooled" | "woken" | "cold":
            return _told(routers(node, asked.samples, pooled=name == "pooled"))
        case "memory" | "spares":
            return memory(node, asked.clones, spares=name == "spares")
        case "inside":
            return inside(max(2, asked.samples // 2))
    raise SystemExit(f"no such measurement: {name}")


def _told(samples: dict[str, list[float]]) -> dict[str, object]:
    return {name: _median(found) for name, found in samples.items()}


def _median(found: list[float]) -> dict[str, object]:
    return {"median": round(statistics.median(found), 3), "all": [round(one, 3) for one in found]}


if __name__ == "__main__":
    main()
