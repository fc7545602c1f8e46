"""The node agent alone: document in to configured and read back, restart, reboot, memory, CPU at rest.

    make bench      or, in a network namespace of its own:      python benchmarks/node_agent.py --instances 1000

Prints one JSON object. Times are wall clock in milliseconds unless named otherwise; "at N": with N instances.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from astara.contract.agent import Health, InstanceSpec
from astara.contract.document import Document, document
from astara.contract.generation import Generation
from astara.drivers.router.schema import ExternalLink, FloatingIP, InternalLink, RouterSection
from astara.host import namespaces
from astara.model.errors import Retry
from support.node_agent import AgentProcess, Deployment, isolated, port, spec

NOW = Generation(1, 1)
#: Bridges take 1023 ports, so external networks are several.
ROUTERS_PER_NETWORK = 200


def router(number: int, external_networks: list[str]) -> InstanceSpec:
    return spec(port(mtu=1450), port(external_networks[number // ROUTERS_PER_NETWORK]))


def wish(instance: InstanceSpec, number: int, floating: int = 0, revision: int = 1) -> Document:
    """A router with one tenant network, a gateway with SNAT, and `floating` floating IPs."""
    inside, outside = instance.ports
    own = f"198.{18 + number // 65536}.{number // 256 % 256}.{number % 256}"
    section = RouterSection(
        router_id=instance.key.id,
        internal=(
            InternalLink(
                mac=inside.mac,
                port_id=inside.port_id,
                network_id=inside.network_id,
                mtu=inside.mtu,
                addresses=("10.0.0.1/24",),
            ),
        ),
        external=(
            ExternalLink(
                mac=outside.mac,
                port_id=outside.port_id,
                network_id=outside.network_id,
                mtu=outside.mtu,
                addresses=(f"{own}/15",),
                nexthops=("198.19.255.254",),
                snat_v4=own,
            ),
        ),
        floating_ips=tuple(
            FloatingIP(
                id=str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{number}/{index}")),
                floating=f"198.19.{number % 256}.{100 + index}",
                fixed=f"10.0.0.{10 + index}",
                external_port_id=outside.port_id,
            )
            for index in range(floating)
        ),
    )
    return document("router", Generation(1, revision), section)


def timed_ms(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def available_mb() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) / 1024


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"median": round(statistics.median(ordered), 2), "p95": round(ordered[int(len(ordered) * 0.95)], 2)}


class Bench:
    """One agent, growing numbers of instances."""

    def __init__(self, directory: Path, largest: int) -> None:
        self.agent = AgentProcess(Deployment.at(directory), directory, port=19899)
        self.networks = [str(uuid.uuid4()) for _ in range(largest // ROUTERS_PER_NETWORK + 1)]
        self.instances: list[InstanceSpec] = []
        self.found: dict[str, Any] = {}
        self.revision = 1
        self.floating: Counter[int] = Counter()  # floating IPs of each router, by its number

    def grow_to(self, count: int) -> None:
        created, configured = [], []
        before_mb, before_cpu = available_mb(), self.agent.cpu_s()
        first = len(self.instances)
        for number in range(first, count):
            instance = router(number, self.networks)
            self.instances.append(instance)
            created.append(timed_ms(lambda made=instance: self.agent.client.put_instance(made)))
            given = wish(instance, number)
            configured.append(timed_ms(lambda made=instance, what=given: self.agent.client.configure(made.id, what)))
        added = max(1, count - first)
        self.found[f"create at {count}"] = spread(created)
        self.found[f"first document at {count}"] = spread(configured)
        self.found[f"agent CPU ms per new router at {count}"] = round(
            (self.agent.cpu_s() - before_cpu) * 1000 / added, 1
        )
        self.found[f"system memory MB per router at {count}"] = round((before_mb - available_mb()) / added, 3)

    def change(self, count: int, samples: int = 30) -> None:
        """A floating IP more on an existing router: what a settled cloud does all day."""
        times, same = [], []
        before_cpu = self.agent.cpu_s()
        for sample in range(samples):
            number = sample * max(1, count // samples) % count
            instance = self.instances[number]
            self.revision += 1
            self.floating[number] += 1
            given = wish(instance, number, floating=self.floating[number], revision=self.revision)
            times.append(timed_ms(lambda made=instance, what=given: self.agent.client.configure(made.id, what)))
            same.append(timed_ms(lambda made=instance, what=given: self.agent.client.configure(made.id, what)))
        used_ms = (self.agent.cpu_s() - before_cpu) * 1000 / samples
        self.found[f"agent CPU ms per changed and unchanged document at {count}"] = round(used_ms, 1)
        self.found[f"document in to read back at {count}"] = spread(times)
        self.found[f"unchanged document at {count}"] = spread(same)
        self.found[f"list all at {count}"] = round(timed_ms(self.agent.client.instances), 1)
        self.found[f"agent PSS MB at {count}"] = round(memory_mb(self.agent.pid), 1)

    def at_once(self, count: int) -> None:
        """Many new routers by eight callers."""
        numbers = range(len(self.instances), len(self.instances) + count)
        made = [router(number, self.networks) for number in numbers]

        def build(at: int) -> None:
            self.agent.client.put_instance(made[at])
            self.agent.client.configure(made[at].id, wish(made[at], numbers[at]))

        with ThreadPoolExecutor(8) as pool:
            took = timed_ms(lambda: list(pool.map(build, range(count))))
        self.instances += made
        self.found[f"{count} at once, ms until the last"] = round(took)

    def restart(self) -> None:
        self.agent.stop(signal.SIGKILL)
        took = timed_ms(self.start_and_list)
        self.found[f"restart, {len(self.instances)} kept: ms"] = round(took)
        self.found[f"restart, {len(self.instances)} kept: CPU s"] = self.agent.cpu_s()

    def reboot(self) -> None:
        self.agent.stop()
        for instance in self.instances:
            namespaces.remove(instance.id)
        took = timed_ms(self.start_and_list)
        self.found[f"restart, {len(self.instances)} namespaces gone: ms"] = round(took)
        self.found[f"restart, {len(self.instances)} namespaces gone: CPU s"] = self.agent.cpu_s()

    def start_and_list(self) -> None:
        self.agent.start()
        listing = None
        while listing is None:
            with contextlib.suppress(Retry):  # a thousand may take longer than one call waits
                listing = self.agent.client.instances()
        states = [view.state.health for view in listing.instances]
        assert states == [Health.HEALTHY] * len(self.instances), states

    def rest(self, seconds: float = 30.0) -> None:
        before = self.agent.cpu_s()
        time.sleep(seconds)
        share = (self.agent.cpu_s() - before) / seconds
        self.found[f"CPU at rest with {len(self.instances)}, percent of one"] = round(share * 100, 2)
        self.found["open descriptors"] = len(list(Path(f"/proc/{self.agent.pid}/fd").iterdir()))

    def clear(self) -> None:
        took = timed_ms(
            lambda: [self.agent.client.delete_instance(each.id, Generation(9, 0)) for each in self.instances]
        )
        self.found["delete, ms each"] = round(took / max(1, len(self.instances)), 1)
        self.instances = []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=200, help="the largest number of instances")
    asked = parser.parse_args()
    if not isolated():
        print("needs root and a network namespace of its own", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="astara-bench-") as directory:
        bench = Bench(Path(directory), asked.instances + 100)
        bench.agent.start()
        bench.found["agent PSS MB at 0"] = round(memory_mb(bench.agent.pid), 1)
        bench.grow_to(10)
        bench.change(10)
        bench.at_once(40)
        bench.restart()
        bench.reboot()
        if asked.instances > 50:
            bench.grow_to(asked.instances)
            bench.change(asked.instances)
            bench.restart()
        bench.rest()
        bench.clear()
        bench.agent.stop()
    print(json.dumps({"cpus": os.cpu_count(), "load": os.getloadavg()[0], **bench.found}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
