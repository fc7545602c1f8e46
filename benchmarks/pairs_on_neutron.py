"""A highly available router of a real Neutron on two nodes (ML2/OVS), Astara's or that of two neutron-l3-agents.

    IN="astara lab run --profile neutron --nodes 2 --dir .lab/pairs"        # of .venv/bin
    $IN -- python benchmarks/pairs_on_neutron.py astara
    $IN --mech ovn -- python benchmarks/pairs_on_neutron.py astara
    $IN --l3-agent -- python benchmarks/pairs_on_neutron.py l3-agent

A tenant asks for a router with `--ha`; UDP every 2 ms and one TCP connection by question and answer run through its
SNAT while the active half dies silently (everything at its links is dropped, the links stay up), its keepalived ends,
or it dies with everything in it and with its node's agent ("dead"). `--both never`: OVN delivers to one chassis
(Neutron's API is started anew).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from astara.admin.client import OperatorClient
from astara_lab import second_node, tasks
from astara_lab.control import Control
from astara_lab.conversation import Conversation, conversation
from astara_lab.demo.cloud import OUTSIDE_GATEWAY_V4, Cloud, Outside, Tenant
from astara_lab.hosts import Host, Hosts, OutsideHost
from astara_lab.places import ADMIN_SOCKET, NEUTRON_URL, NODE_NAME, Lab, find_lab
from astara_lab.pod import Pod
from astara_lab.profiles.neutron import OVN_PROVIDER
from astara_lab.waiting import NotInTime, until

NODES = (NODE_NAME, second_node.NAME)
_PATIENCE_S = 180.0
_STEADY = 200
_PORT = 7007
#: As many seconds without an answer, and it is over.
_DEAD_S = 30.0


class Who(Protocol):
    """Whose router it is. Roles are "active" and "standby"."""

    def roles(self) -> dict[str, str | None]: ...

    def netns(self, host: str) -> str: ...


@dataclass(frozen=True)
class Astara:
    lab: Lab
    router_id: str

    def roles(self) -> dict[str, str | None]:
        return {host: role for _, host, role in self._halves()}

    def netns(self, host: str) -> str:
        return next(f"astara-{identifier}" for identifier, where, _ in self._halves() if where == host)

    def _halves(self) -> list[tuple[str, str, str | None]]:
        lines = OperatorClient(ADMIN_SOCKET).instances()
        return [(one.id, one.host, one.role) for one in lines if one.resource == f"router/{self.router_id}"]


@dataclass(frozen=True)
class L3Agent:
    """Its keepalived's last word is in a file (neutron/agent/l3/keepalived_state_change.py)."""

    lab: Lab
    router_id: str

    def roles(self) -> dict[str, str | None]:
        words = {"primary": "active", "backup": "standby"}
        return {host: words.get(self._said(host)) for host in NODES}

    def netns(self, host: str) -> str:
        return f"qrouter-{self.router_id}"

    def _said(self, host: str) -> str:
        state = "neutron" if host == NODE_NAME else "neutron-2"
        with contextlib.suppress(OSError):
            return (self.lab.lib / state / "ha_confs" / self.router_id / "state").read_text().strip()
        return ""


def inside(netns: str, host: str, *words: str, stdin: str = "") -> str:
    """Run a command in the router's namespace on a node."""
    argv = ("ip", "netns", "exec", netns, *words)
    full = second_node.there(*argv) if host == second_node.NAME else argv
    return subprocess.run(full, check=False, capture_output=True, text=True, input=stdin).stdout


@contextlib.contextmanager
def silenced(who: Who, host: str) -> Iterator[None]:
    """Nothing comes in at its links or leaves them, and they stay up."""
    lines, netns = ["add table netdev silence"], who.netns(host)
    names = [name for name in inside(netns, host, "ls", "/sys/class/net").split() if name != "lo"]
    listed = ", ".join(f'"{name}"' for name in names)
    for hook in ("ingress", "egress"):
        place = f"type filter hook {hook} devices = {{ {listed} }} priority -500; policy drop;"
        lines.append(f"add chain netdev silence {hook} {{ {place} }}")
    inside(netns, host, "nft", "-f", "-", stdin="\n".join(lines) + "\n")
    try:
        yield
    finally:
        inside(netns, host, "nft", "delete", "table", "netdev", "silence")


@contextlib.contextmanager
def ended(who: Who, host: str) -> Iterator[None]:
    """Its keepalived says goodbye, as when the half is deleted."""
    pids = second_node.on(host, "ip", "netns", "pids", who.netns(host)).split()
    os.kill(min(int(pid) for pid in pids if _program(int(pid)) == "keepalived"), signal.SIGTERM)
    yield


@contextlib.contextmanager
def dead(who: Who, host: str) -> Iterator[None]:
    """Everything in it is killed and so is its node's agent, which stays away until the end of the trial."""
    control, agent = Control(Pod(find_lab())), "node" if host == NODE_NAME else "node-2"
    found = control.state(agent)
    pids = [int(pid) for pid in second_node.on(host, "ip", "netns", "pids", who.netns(host)).split()]
    with silenced(who, host):
        control.change("stop", agent)
        for pid in (*pids, *([found.pid] if found is not None and found.pid else [])):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        yield
    control.change("restart", agent)


def _program(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


EVENTS: dict[str, Callable[[Who, str], contextlib.AbstractContextManager[None]]] = {
    "silent": silenced,
    "planned": ended,
    "dead": dead,
}


def settled(who: Who) -> str:
    """Wait until one half is active and the other stands by; return the node of the active one."""

    def decided() -> bool:
        return sorted(filter(None, who.roles().values())) == ["active", "standby"]

    until("an active half and one that stands by", decided, _PATIENCE_S)
    return next(host for host, role in who.roles().items() if role == "active")


def trial(who: Who, event: str, machine: Host, world: OutsideHost) -> dict[str, object]:
    active = settled(who)
    with conversation(machine.netns, world.netns, OUTSIDE_GATEWAY_V4, _PORT) as said:
        until("the sessions run", lambda: min(said.tcp_answers, len(said.answered)) >= _STEADY, _PATIENCE_S, 0.01)
        began = time.monotonic()
        with EVENTS[event](who, active):
            survived = _goes_on(said)
            found = {"gap_ms": round(said.gap_since(began - 0.002) * 1000), "load": round(os.getloadavg()[0], 1)}
    return {
        "event": event,
        "active": active,
        **found,
        "datagrams_lost": said.lost,
        "of": len(said.sent),
        "tcp": "survived" if survived else said.tcp_broken or f"silent for {_DEAD_S:g} s",
        "slowest_tcp_answer_ms": round(said.tcp_longest_s * 1000),
        "udp_seen_as": len(said.seen_as),
    }


def _goes_on(said: Conversation) -> bool:
    """Whether both sessions have as many answers again."""
    pause = time.monotonic() + 1.0
    datagrams, answers = len(said.answered) + 2 * _STEADY, said.tcp_answers + _STEADY
    with contextlib.suppress(NotInTime):
        until("datagrams", lambda: len(said.answered) >= datagrams and time.monotonic() > pause, _DEAD_S, 0.01)
        until("answers", lambda: said.tcp_broken or said.tcp_answers >= answers, _DEAD_S, 0.01)
        return said.tcp_broken is None
    return False


def router(cloud: Cloud, tenant: Tenant, outside: Outside) -> None:
    """Ask for it as a tenant does; OVN's L3 plug-in has no attribute for that, a flavor says it there."""
    if not list(cloud.network.flavors()):  # a lab on OVN has one
        cloud.router(tenant, outside, ha=True)
        return
    net = cloud.network
    profile = net.create_service_profile(driver=OVN_PROVIDER, meta_info='{"ha": "true"}', is_enabled=True)
    flavor = net.create_flavor(name="pair", service_type="L3_ROUTER_NAT", is_enabled=True)
    net.associate_flavor_with_service_profile(flavor, profile)
    gateway = {"network_id": outside.network_id}
    wish = {"name": tenant.name, "project_id": tenant.project_id, "external_gateway_info": gateway}
    tenant.router_id = net.create_router(flavor_id=flavor.id, **wish).id


def followed(cloud: Cloud, router_id: str, host: str, since: float) -> float:
    """Return how long after `since` the router's ports are bound to `host` alone."""

    def bound() -> bool:
        ports = cloud.network.ports(device_id=router_id)
        return {one.binding_host_id for one in ports if one.device_owner != "network:router_ha_interface"} == {host}

    until(f"the ports to be bound to {host}", bound, _PATIENCE_S, 0.1)
    return time.monotonic() - since


def _choose(lab: Lab, both: str) -> None:
    file = lab.etc / "neutron.conf"
    file.write_text(file.read_text().replace("\n[astara]\n", f"\n[astara]\novn_both_chassis = {both}\n"))
    Control(Pod(lab)).change("restart", "neutron")
    until("Neutron's API", tasks.http_answers(NEUTRON_URL), _PATIENCE_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("who", choices=("astara", "l3-agent"))
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--only", default=",".join(EVENTS), help="names of events, by commas")
    # Whoever was away hears of the other one, and switches of both: Open vSwitch keeps a flow for ten seconds.
    parser.add_argument("--pause", type=float, default=12.0, help="seconds between trials")
    parser.add_argument("--both", choices=("auto", "always", "never"), help="[astara] ovn_both_chassis")
    asked = parser.parse_args()
    lab = find_lab()
    if asked.both is not None:
        _choose(lab, asked.both)
    cloud, tenant = Cloud(), Tenant("blue")
    outside = cloud.outside()
    world = OutsideHost.open(lab, outside.network_id)
    cloud.tenant_network(tenant, "web", "10.10.1.0/24")
    router(cloud, tenant, outside)
    cloud.interface(tenant, tenant.subnets["web"][0])
    machine = Hosts(lab).add("blue-web", tenant.networks["web"], project=tenant.project_id)
    who: Who = (Astara if asked.who == "astara" else L3Agent)(lab, tenant.router_id)
    settled(who)
    reach = ["ip", "netns", "exec", machine.netns, "ping", "-c1", "-W1", OUTSIDE_GATEWAY_V4]
    until("a way outside", lambda: subprocess.run(reach, check=False, capture_output=True).returncode == 0, _PATIENCE_S)
    for event in asked.only.split(","):
        for _ in range(asked.trials):
            began = time.monotonic()
            print(json.dumps({"who": asked.who, **trial(who, event, machine, world)}), flush=True)
            bound_s = followed(cloud, tenant.router_id, settled(who), began)
            print(f"    ports bound to the active half's node {bound_s:.1f} s after the trial began", flush=True)
            time.sleep(asked.pause)


if __name__ == "__main__":
    main()
