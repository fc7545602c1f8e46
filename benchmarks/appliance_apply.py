"""Document in to configured and read back, for the agent's engine alone on a real kernel. Needs root.

    unshare --net --mount --pid --fork --mount-proc --kill-child python benchmarks/appliance_apply.py [INSTANCES]

Every instance is a namespace with an internal and an external link and a router in it: dual stack, SNAT, a floating
IP, a port forwarding. Then one instance after the other gets a changed document (the floating IP comes or goes), and
an unchanged one. Times are medians and 95th percentiles in milliseconds; CPU is this process's, kernel work included.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from msgspec.structs import replace

from astara.appliance.apply.engine import Engine
from astara.appliance.boundaries import Place
from astara.contract.document import document
from astara.contract.generation import Generation
from astara.drivers.router.schema import RouterSection
from support.builders.router import external, floating, forwarding, internal
from support.terrain import router_engine

INSIDE, OUTSIDE = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"


def section(*, floated: bool) -> RouterSection:
    """Return one router; all namespaces may have the same, as tenants do."""
    plain = RouterSection(
        router_id="r",
        internal=(internal(INSIDE, "10.0.0.1/24", "fd00:1::1/64"),),
        external=(
            external(
                OUTSIDE,
                "203.0.113.2/24",
                "2001:db8::2/64",
                nexthops=("203.0.113.1", "2001:db8::1"),
                snat="203.0.113.2",
            ),
        ),
        port_forwardings=(forwarding("tcp", "203.0.113.10", (80, 80), "10.0.0.6", (8080, 8080), OUTSIDE),),
        routed_v6=("fd00:1::/64",),
    )
    return replace(plain, floating_ips=(floating("203.0.113.9", "10.0.0.5", OUTSIDE),)) if floated else plain


def make(count: int, state: Path) -> list[Place]:
    """Make namespaces with two links each; their other ends stay down here, which costs the kernel nothing."""
    script = "".join(
        f"netns add astara-{number}\n"
        f"link add name a{number} type veth peer name in netns astara-{number} address {INSIDE}\n"
        f"link add name b{number} type veth peer name out netns astara-{number} address {OUTSIDE}\n"
        for number in range(count)
    )
    for line in script.splitlines():
        subprocess.run(["ip", *line.split()], check=True)
    return [Place(str(n), Path(f"/run/netns/astara-{n}"), state / str(n)) for n in range(count)]


def measure(name: str, rounds: list[Callable[[], object]]) -> None:
    times = []
    cpu = time.process_time()
    for one in rounds:
        began = time.perf_counter()
        one()
        times.append((time.perf_counter() - began) * 1000)
    used = (time.process_time() - cpu) / len(rounds) * 1000
    times.sort()
    tail = times[int(len(times) * 0.95)]
    print(f"{name:34} median {statistics.median(times):7.2f}   95% {tail:7.2f}   CPU {used:6.2f}")


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        places = make(count, Path(directory))
        engine = router_engine()
        with_one, without = section(floated=True), section(floated=False)

        def push(place: Place, wish: RouterSection, revision: int) -> Callable[[], object]:
            return lambda: engine.apply(place, document("router", Generation(1, revision), wish))

        chosen = [places[number * 37 % count] for number in range(min(count, 100))] * (2 if count >= 50 else 10)
        print(f"{count} instances; milliseconds")
        measure("first document", [push(place, without, 1) for place in places])
        changes = [push(p, with_one if n // count % 2 == 0 else without, 2 + n) for n, p in enumerate(chosen)]
        measure("changed document (floating IP)", changes)
        measure("unchanged document", [push(p, with_one, 10_000) for p in chosen if settled(engine, p, with_one)])
        measure("state read back", [lambda place=place: engine.state(place) for place in chosen])
        burst(engine, places[:50])


def settled(engine: Engine, place: Place, wish: RouterSection) -> bool:
    engine.apply(place, document("router", Generation(1, 9_999), wish))
    return True


def burst(engine: Engine, places: list[Place]) -> None:
    """Push a change to many at once, as after an outage."""
    wish = replace(section(floated=True), routes=())
    wish = replace(wish, floating_ips=(floating("203.0.113.77", "10.0.0.7", OUTSIDE),))
    began = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda p: engine.apply(p, document("router", Generation(2, 1), wish)), places))
    took = (time.perf_counter() - began) * 1000
    print(f"{len(places)} changes from 8 threads: {took:.0f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
