"""How long new work waits while everything is looked at again: `astara resync --all` on a settled fleet.

    PYTHONPATH=tests tests/isolated .venv/bin/python benchmarks/resync.py --routers 1000

An orchestrator and a node agent as operators start them, with that many real routers in namespaces, and a Neutron in
memory behind HTTP that answers as slowly as a real one. New work is by turns a router that is made and a floating IP
that is associated; it is timed from before its notification is sent to the moment Neutron is told that it is ACTIVE,
which happens after the agent has read it back. The same work at the same pace once while nothing else happens, once
while the full look lasts. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import httpx
import msgspec
from msgspec import structs
from served_neutron import ServedNeutron

from astara.admin.client import OperatorClient
from astara.contract.snapshot import (
    FixedIP,
    FloatingIPSnapshot,
    GatewaySnapshot,
    NetworkSnapshot,
    PortSnapshot,
    RouterSnapshot,
    SubnetSnapshot,
)
from astara.intake.http_feed import PATH
from astara.intake.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from astara.model.errors import AstaraError
from support.node_agent import NODE, AgentProcess, Deployment, isolated, mac

#: Bridges take 1023 ports, so external networks are several.
ROUTERS_PER_NETWORK = 200
SECRET = b"benchmark"
NODE_PORT, FEED_PORT = 19899, 19898
LIMIT_S = 600.0


class Tenants:
    """What tenants do: they make routers and associate floating IPs, and Neutron tells of it."""

    def __init__(self, neutron: ServedNeutron) -> None:
        self.neutron = neutron
        self.routers: list[str] = []
        self._feed = httpx.Client(base_url=f"http://127.0.0.1:{FEED_PORT}", trust_env=False)

    def make(self) -> tuple[str, str]:
        """Put a router with an interface and a gateway into Neutron; returns its id and that of the interface."""
        number = len(self.routers)
        outside = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"outside-{number // ROUTERS_PER_NETWORK}"))
        inside = str(uuid.uuid4())
        state = self.neutron.state
        if outside not in state.networks_by_id:
            state.put_network(network(outside, "198.18.0.0/15", external=True))
        state.put_network(network(inside, "10.0.0.0/24"))
        own = f"198.18.{number // 250}.{number % 250 + 1}"
        interface = port(inside, "10.0.0.1", "network:router_interface")
        gateway = port(outside, own, "network:router_gateway")
        router = RouterSnapshot(
            id=str(uuid.uuid4()),
            project_id=f"tenant-{number % 20}",
            name=f"router-{number}",
            gateways=(GatewaySnapshot(port=gateway),),
            interfaces=(interface,),
            host=NODE,
        )
        state.put_router(router)
        self.routers.append(router.id)
        return router.id, interface.id

    def associate(self, router_id: str) -> str:
        """Give one floating IP more to a router; returns its id."""
        router = self.neutron.state.routers_by_id[router_id]
        count = len(router.floating_ips) + 1
        made = FloatingIPSnapshot(
            id=str(uuid.uuid4()),
            floating_ip_address=f"198.19.{self.routers.index(router_id) % 250}.{count}",
            floating_network_id=router.gateways[0].port.network_id,
            fixed_ip_address=f"10.0.0.{10 + count}",
        )
        self.neutron.state.put_router(structs.replace(router, floating_ips=(*router.floating_ips, made)))
        return made.id

    def tell(self, event: str, router_id: str) -> None:
        """Notify as Neutron does."""
        message = {"event_type": event, "payload": {"router": {"id": router_id}}}
        body, timestamp = msgspec.json.encode(message), str(int(time.time()))
        headers = {TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: sign(SECRET, timestamp, body)}
        self._feed.post(PATH, content=body, headers=headers).raise_for_status()

    def new_work(self, number: int) -> float:
        """Do one piece of it; returns the seconds from before the notification until Neutron knows that it works."""
        if number % 2:
            router_id = self.routers[number * 37 % len(self.routers)]
            awaited, event = self.associate(router_id), "router.update.end"
        else:
            router_id, awaited = self.make()
            event = "router.create.end"
        began = time.monotonic()
        self.tell(event, router_id)
        self.neutron.wait_active([awaited], LIMIT_S)
        return self.neutron.active_at[awaited] - began


def network(identifier: str, cidr: str, *, external: bool = False) -> NetworkSnapshot:
    subnet = SubnetSnapshot(id=f"subnet-{identifier}", network_id=identifier, cidr=cidr, ip_version=4)
    return NetworkSnapshot(id=identifier, external=external, subnets=(subnet,), managed=False)


def port(network_id: str, address: str, owner: str) -> PortSnapshot:
    return PortSnapshot(
        id=str(uuid.uuid4()),
        network_id=network_id,
        mac_address=mac(),
        fixed_ips=(FixedIP(ip_address=address, subnet_id=f"subnet-{network_id}"),),
        device_owner=owner,
        host=NODE,
        vif_type="bridge",
    )


@contextlib.contextmanager
def orchestrator(home: Path, neutron: ServedNeutron, node: Deployment) -> Iterator[OperatorClient]:
    """`astara-orchestrator`, alone, until it answers."""
    (home / "secret").write_bytes(SECRET)
    identity = node.orchestrator
    (home / "astara.conf").write_text(
        f"[DEFAULT]\nstate_dir = {home}\n[neutron]\nurl = {neutron.url}\n"
        f"[intake]\nhttp_listen = 127.0.0.1:{FEED_PORT}\nhttp_secret_file = {home}/secret\n"
        f"[nodes]\nnode = {NODE}=https://127.0.0.1:{NODE_PORT}\nca_file = {identity.ca_file}\n"
        f"cert_file = {identity.cert_file}\nkey_file = {identity.key_file}\n"
        f"[services]\ndrivers = router\n[admin]\nsocket = {home}/admin.sock\n[metrics]\nlisten =\n"
    )
    command = [str(Path(sys.executable).parent / "astara-orchestrator"), "--config-file", str(home / "astara.conf")]
    with (home / "orchestrator.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield OperatorClient(home / "admin.sock", 60.0)
    finally:
        process.terminate()
        process.wait(60)


class Bench:
    def __init__(self, operator: OperatorClient, tenants: Tenants, pieces: int) -> None:
        self.operator = operator
        self.tenants = tenants
        self.pieces = pieces
        self._numbers = itertools.count()

    def settle(self) -> None:
        """Wait until all routers are configured and nobody works."""
        deadline = time.monotonic() + LIMIT_S
        while not self._settled():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not settled within {LIMIT_S:.0f} s: {self.operator.status()}")
            time.sleep(0.2)

    def _settled(self) -> bool:
        try:
            status = self.operator.status()
            if status.queue or status.working:
                return False
            phases = [line.phase for line in self.operator.resources()]
        except AstaraError:
            return False  # it starts
        return phases == ["configured"] * len(self.tenants.routers)

    def resync(self) -> float:
        """Have everything looked at; returns how many seconds it took."""
        began = time.monotonic()
        self.operator.resync(None)
        while (status := self.operator.status()).queue or status.working:
            time.sleep(0.05)
        return time.monotonic() - began

    def paced(self, every_s: float, *, beside: bool) -> dict[str, Any]:
        """Do the pieces of new work one after the other at this pace, with a resync `beside` them or without."""
        with ThreadPoolExecutor(self.pieces + 1) as pool:
            look: Future[float] | None = pool.submit(self.resync) if beside else None
            pieces = []
            for number in itertools.islice(self._numbers, self.pieces):
                time.sleep(every_s)
                pieces.append(pool.submit(self.tenants.new_work, number))
            took = [piece.result() for piece in pieces]
            found = spread(took)
            return found if look is None else found | {"resync_s": round(look.result(), 2)}


def spread(values: list[float]) -> dict[str, Any]:
    ordered = sorted(round(value, 3) for value in values)
    return {"median_s": round(statistics.median(ordered), 3), "worst_s": ordered[-1], "all_s": ordered}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routers", type=int, default=1000)
    parser.add_argument("--pieces", type=int, default=20, help="of new work, spread over one resync")
    asked = parser.parse_args()
    if not isolated():
        print("needs root and a network namespace of its own: tests/isolated", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="astara-bench-") as directory, contextlib.ExitStack() as stack:
        home = Path(directory)
        node = Deployment.at(home)
        agent = AgentProcess(node, home, NODE_PORT)
        agent.start()
        stack.callback(agent.stop)
        neutron = ServedNeutron()
        stack.callback(neutron.close)
        tenants = Tenants(neutron)
        for _ in range(asked.routers):
            tenants.make()
        bench = Bench(stack.enter_context(orchestrator(home, neutron, node)), tenants, asked.pieces)
        began = time.monotonic()
        bench.settle()
        print(f"built in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        alone_s = bench.resync()
        idle = bench.paced(alone_s / asked.pieces, beside=False)
        bench.settle()
        beside = bench.paced(alone_s / asked.pieces, beside=True)
        load = os.getloadavg()[0]
    found = {
        "routers": asked.routers,
        "resync_alone_s": round(alone_s, 2),
        "load": load,
        "idle": idle,
        "beside": beside,
    }
    found["waits_longer_s"] = {
        "median": round(beside["median_s"] - idle["median_s"], 3),
        "worst": round(beside["worst_s"] - idle["worst_s"], 3),
    }
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
