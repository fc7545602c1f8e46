"""Routers asked of a real Neutron until they work, inside a lab's pod; run.py starts it. One JSON object on stdout.

"Configured" is asked of the kernel, alike for every contender: the namespace has both addresses and the SNAT rule.
It is asked every 20 ms after the last API call has returned, never during it. CPU is that of control groups.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import settled
from accounts import CpuAccounts, difference, kernel_mb, processes_mb
from contenders import Astara, Contender, L3Agent, Router, configured
from probe import Probe

from astara_lab import namespaces
from astara_lab.control import Control
from astara_lab.hosts import Hosts, OutsideHost
from astara_lab.places import EXTERNAL_PHYSNET, NEUTRON_URL, find_lab
from astara_lab.pod import Pod
from astara_lab.waiting import until

CLIENTS = 4
POLL_S = 0.02
#: Nothing happens for that long before a measurement, so that it does not pay for the one before.
REST_S = 3.0
#: So long after the last change nothing is left of it: the poll of the journal comes every 5 s, its look after that.
SETTLED_S = 15.0
LIMIT_S = 900.0
OUTSIDE = "198.51.0.0/16"
OUTSIDE_GATEWAY = "198.51.0.1"


class Tenant(threading.local):
    """Neutron's REST API, one connection pool for each thread."""

    def __init__(self) -> None:
        self._client = httpx.Client(base_url=f"{NEUTRON_URL}/v2.0/", timeout=120.0, trust_env=False, verify=False)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self._client.request(method, path, json=body)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else {}

    def create(self, kind: str, **fields: Any) -> dict[str, Any]:
        return self.call("POST", f"{kind}s", {kind: fields})[kind]


class Bench:
    def __init__(self, contender: Contender, accounts: CpuAccounts, control: Control) -> None:
        self.contender = contender
        self.accounts = accounts
        self.control = control
        self.tenant = Tenant()
        self.routers: list[Router] = []
        self.found: dict[str, Any] = {}
        self.networks = 0
        self.external = ""
        self.idle_share = 0.0

    def idle(self) -> None:
        """What the contender uses while nothing is asked of it, as a share of one CPU."""
        time.sleep(REST_S)
        used, began = self.accounts.used_s(), time.monotonic()
        time.sleep(10.0)
        spent = difference(used, self.accounts.used_s())
        self.idle_share = self.own(spent) / (time.monotonic() - began)
        self.tell("idle", routers=len(self.routers), cpu_percent=round(100 * self.idle_share, 2), cpu_s=spent)

    def outside(self) -> None:
        """The external network, unless an earlier run left it."""
        found = self.tenant.call("GET", "networks?name=outside")["networks"]
        if found:
            self.external = found[0]["id"]
            self.networks = len(self.tenant.call("GET", "networks?fields=id")["networks"])
            return
        made = self.tenant.create(
            "network",
            name="outside",
            **{
                "router:external": True,
                "provider:network_type": "flat",
                "provider:physical_network": EXTERNAL_PHYSNET,
            },
        )
        self.external = made["id"]
        self.tenant.create(
            "subnet",
            network_id=self.external,
            ip_version=4,
            cidr=OUTSIDE,
            gateway_ip=OUTSIDE_GATEWAY,
            enable_dhcp=False,
        )

    # Creating

    def prepare(self, *, dhcp: bool) -> tuple[str, str]:
        """Make a network with one subnet; return its subnet's id and the address its router will get."""
        number = self.networks
        self.networks += 1
        network = self.tenant.create("network", name=f"bench-{number}")
        block = f"10.{100 + number // 250}.{number % 250}"
        subnet = self.tenant.create(
            "subnet", network_id=network["id"], ip_version=4, cidr=f"{block}.0/24", enable_dhcp=dhcp
        )
        return subnet["id"], f"{block}.1"

    def create(self, subnet_id: str, inside: str) -> Router:
        gateway = {"network_id": self.external}
        router = self.tenant.create("router", name=f"bench-{inside}", external_gateway_info=gateway)
        self.tenant.call("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": subnet_id})
        outside = router["external_gateway_info"]["external_fixed_ips"][0]["ip_address"]
        return Router(router["id"], inside, outside)

    def one(self, samples: int) -> None:
        """One router at a time: from the return of the last API call, and from the first call's beginning."""
        after, whole, cpu = [], [], []
        for _ in range(samples):
            subnet = self.prepare(dhcp=False)
            time.sleep(REST_S)
            used, began = self.accounts.used_s(), time.monotonic()
            router = self.create(*subnet)
            returned = time.monotonic()
            self.wait([router])
            done = time.monotonic()
            after.append(done - returned)
            whole.append(done - began)
            time.sleep(REST_S)
            cpu.append(self.own(difference(used, self.accounts.used_s())))
            self.routers.append(router)
        self.tell(
            "one",
            after_api_s=spread(after),
            whole_s=spread(whole),
            own_cpu_s=spread(cpu),
        )

    def many(self, count: int) -> None:
        """`count` at once by four API clients."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            subnets = list(pool.map(lambda _: self.prepare(dhcp=False), range(count)))
            time.sleep(REST_S)
            used, began = self.accounts.used_s(), time.monotonic()
            made = list(pool.map(lambda subnet: self.create(*subnet), subnets))
        api = time.monotonic()
        self.wait(made)
        last = time.monotonic()
        time.sleep(REST_S)
        spent = difference(used, self.accounts.used_s())
        self.routers += made
        own = self.own(spent)
        at_rest = self.idle_share * (time.monotonic() - began)
        self.tell(
            "many",
            count=count,
            api_s=round(api - began, 2),
            after_api_s=round(last - api, 3),
            own_cpu_per_router_s=round(own / count, 3),
            own_cpu_per_router_beyond_idle_s=round(max(0.0, own - at_rest) / count, 3),
            cpu_s=spent,
        )

    # Restarts

    def restart(self, *, cold: bool) -> None:
        """All at once: everything of the contender's that runs on the network node and beside it."""
        probe = None if cold else self.probe()
        for name in self.contender.restarted:
            self.settle_down(name)
        verified = self.contender.restart_mark()
        before = {name: self.pid(name) for name in self.contender.restarted}
        if cold:
            self.stop_and_wipe()
        used, began = self.accounts.used_s(), time.monotonic()
        for name in self.contender.restarted:
            self.control.change("restart", name)
        for name in self.contender.restarted:
            self.accounts.adopt(name, before[name])
        found: dict[str, Any] = {"routers": len(self.routers)}
        if cold:
            self.wait(self.routers)
            found["all_back_s"] = round(time.monotonic() - began, 2)
        wanted = [router.id for router in self.routers]
        until("all routers verified", lambda: verified(wanted), LIMIT_S, POLL_S)
        found["verified_s"] = round(time.monotonic() - began, 2)
        found["cpu_s"] = difference(used, self.accounts.used_s())
        found["own_cpu_s"] = round(self.own(found["cpu_s"]) + found["cpu_s"].get("rest", 0.0), 2)
        if probe is not None:
            time.sleep(REST_S)
            stream = probe.stop()
            found |= {"packets": stream.sent, "lost": stream.lost, "longest_gap_ms": stream.gap_ms}
        self.tell("restart, namespaces gone" if cold else "restart", **found)

    def settle_down(self, name: str) -> None:
        """A service that ran for less than 10 s would be started again with a delay by the supervisor."""
        until(f"{name} to be steady", lambda: (s := self.control.state(name)) is not None and s.up_s > 11, 60.0)

    def stop_and_wipe(self) -> None:
        for name in self.contender.restarted:
            self.control.change("stop", name)
            until(f"the end of {name}", lambda name=name: self.pid(name) is None, 60.0)
        for router in self.routers:
            destroy(self.contender.netns(router.id))
        self.contender.clean_up()
        time.sleep(REST_S)

    def pid(self, name: str) -> int | None:
        state = self.control.state(name)
        return state.pid if state else None

    def probe(self) -> Probe | None:
        """A machine behind a router of its own, and one outside."""
        lab = find_lab()
        name = f"probe-{self.networks}"
        subnet_id, inside = self.prepare(dhcp=True)
        router = self.create(subnet_id, inside)
        self.wait([router])
        self.routers.append(router)
        network = self.tenant.call("GET", f"subnets/{subnet_id}")["subnet"]["network_id"]
        outside = OutsideHost.open(lab, self.external)
        host = Hosts(lab).add(name, network, deadline_s=60.0)
        until("the outside", lambda: host.ping(OUTSIDE_GATEWAY), 60.0)
        probe = Probe(host.netns, outside.netns, OUTSIDE_GATEWAY)
        probe.start()
        time.sleep(1.0)
        return probe

    # Memory

    def memory(self, count: int) -> None:
        """What `count` more routers need, each with a network that has DHCP, DNS and metadata."""
        users = [*self.contender.services, *(["neutron-dhcp-agent"] if isinstance(self.contender, L3Agent) else [])]
        with ThreadPoolExecutor(CLIENTS) as pool:
            time.sleep(REST_S)
            before = self.sizes(users), kernel_mb()
            made = list(pool.map(lambda _: self.create(*self.prepare(dhcp=True)), range(count)))
        self.wait(made)
        self.wait_for_dhcp(count)
        time.sleep(2 * REST_S)
        after = self.sizes(users), kernel_mb()
        self.routers += made
        processes = (sum(after[0].values()) - sum(before[0].values())) / count
        kernel = (after[1] - before[1]) / count
        self.tell(
            "memory",
            count=count,
            before_mb=before[0],
            after_mb=after[0],
            processes_mb_per_router=round(processes, 2),
            kernel_mb_per_router=round(kernel, 2),
            mb_per_router=round(processes + kernel, 2),
        )

    def sizes(self, users: Sequence[str]) -> dict[str, float]:
        return {name: round(processes_mb(f"{self.accounts.prefix}-{name}"), 1) for name in users}

    def wait_for_dhcp(self, count: int) -> None:
        """Until as many DHCP servers run as there are networks with DHCP."""
        wanted = count + sum(1 for name in self.found if name == "restart")

        def running() -> bool:
            names = [line for line in processes() if line.endswith("dnsmasq")]
            return len(names) >= wanted

        until("the DHCP servers", running, LIMIT_S, 0.2)

    # Nothing to do

    def settled(self, seconds: float = 60.0) -> None:
        """Count what is asked of Neutron, and written by it, while nobody asks for anything."""
        time.sleep(SETTLED_S)
        asked, used = settled.calls(), self.accounts.used_s()
        written = settled.commits_within(find_lab().lib / "neutron.sqlite", seconds)
        spent = difference(used, self.accounts.used_s())
        calls = dict(settled.calls() - asked)
        self.tell("settled", routers=len(self.routers), seconds=seconds, calls=calls, commits=written, cpu_s=spent)

    # Small things

    def wait(self, routers: Sequence[Router]) -> None:
        """Until all are configured."""
        left = list(routers)
        deadline = time.monotonic() + LIMIT_S
        while left:
            left = [router for router in left if not configured(self.contender, router)]
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(left)} routers were not configured in {LIMIT_S:.0f} s")
            if left:
                time.sleep(POLL_S)

    def own(self, spent: dict[str, float]) -> float:
        return sum(spent.get(name, 0.0) for name in self.contender.services)

    def tell(self, name: str, **found: Any) -> None:
        found["load"] = round(os.getloadavg()[0], 1)
        self.found.setdefault(name, []).append(found)
        print(f"  {name}: {json.dumps(found)}", file=sys.stderr, flush=True)


def destroy(netns: str) -> None:
    """Unmount and unlink: with its last process the kernel takes it apart."""
    pids = subprocess.run(["ip", "netns", "pids", netns], capture_output=True, text=True, check=False).stdout.split()
    for pid in pids:
        subprocess.run(["kill", "-9", pid], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "delete", netns], check=False, capture_output=True)


def processes() -> list[str]:
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            found.append(comm.read_text().strip())
        except OSError:
            continue
    return found


def spread(values: Sequence[float]) -> dict[str, Any]:
    ordered = sorted(round(value, 3) for value in values)
    return {"median": round(statistics.median(ordered), 3), "all": ordered}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contender", choices=("astara", "l3-agent"))
    parser.add_argument("--samples", type=int, default=7, help="routers made one at a time")
    parser.add_argument("--count", type=int, default=50, help="routers made at once")
    parser.add_argument("--memory", type=int, default=20, help="further routers, with DHCP and metadata")
    parser.add_argument("--only", default="idle,one,many,idle,restart,cold,memory")
    asked = parser.parse_args()
    lab = find_lab()
    control = Control(Pod(lab))
    contender: Contender = Astara() if asked.contender == "astara" else L3Agent(lab)
    accounts = CpuAccounts(control, f"bench-{Pod(lab).lab.root.name}")
    agents = (*contender.services, *(("neutron-dhcp-agent",) if isinstance(contender, L3Agent) else ()))
    accounts.open(agents)
    bench = Bench(contender, accounts, control)
    deeds: dict[str, Callable[[], None]] = {
        "idle": bench.idle,
        "one": lambda: bench.one(asked.samples),
        "many": lambda: bench.many(asked.count),
        "restart": lambda: bench.restart(cold=False),
        "cold": lambda: bench.restart(cold=True),
        "memory": lambda: bench.memory(asked.memory),
        "settled": bench.settled,
    }
    try:
        bench.outside()
        time.sleep(10.0)  # the services have just been restarted
        for name in asked.only.split(","):
            deeds[name]()
    finally:
        accounts.close()
        print(json.dumps(bench.found))
    return 0


if __name__ == "__main__":
    assert namespaces.NETNS_DIRECTORY.is_dir()
    sys.exit(main())
