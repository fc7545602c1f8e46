"""Who is measured: Astara, or neutron-l3-agent. Both are judged from outside, by the same questions to the kernel."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from astara.admin.client import NotReachable, OperatorClient
from astara.clients.nodes import instance_id
from astara.model.resource import ResourceKey
from astara_lab.namespaces import NETNS_DIRECTORY, within
from astara_lab.places import ADMIN_SOCKET, OVSDB_SOCKET, Lab

#: Of a router that is no pair.
_SLOT = "0"


@dataclass(frozen=True)
class Router:
    """One router of the benchmark, and the two addresses that its namespace must have."""

    id: str
    inside: str
    outside: str


class Contender(Protocol):
    """`services`: those whose CPU and memory are the contender's own."""

    services: tuple[str, ...]
    #: Which of them a restart restarts.
    restarted: tuple[str, ...]

    def netns(self, router_id: str) -> str: ...

    def nat(self) -> tuple[str, ...]:
        """The command that shows the address translation of the namespace it runs in."""
        ...

    def translates(self, shown: str, outside: str) -> bool: ...

    def restart_mark(self) -> Callable[[Collection[str]], bool]:
        """Called before a restart; what it returns tells whether all of these routers were verified since."""
        ...

    def clean_up(self) -> None:
        """Take away what deleted namespaces left outside themselves, as a boot would."""
        ...


def configured(contender: Contender, router: Router) -> bool:
    """Whether the namespace has both addresses and the SNAT rule of its gateway."""
    name = contender.netns(router.id)
    if not (NETNS_DIRECTORY / name).exists():
        return False
    try:
        return bool(within(name, lambda: _looks_right(contender, router)))
    except OSError:
        return False


def _looks_right(contender: Contender, router: Router) -> bool:
    trie = Path("/proc/thread-self/net/fib_trie").read_text()
    if not all(re.search(rf"-- {re.escape(a)}\n\s+/32 host LOCAL", trie) for a in (router.inside, router.outside)):
        return False
    done = subprocess.run(contender.nat(), capture_output=True, text=True, check=False)
    return contender.translates(done.stdout, router.outside)


@dataclass(frozen=True)
class Astara:
    """The orchestrator and the node agent with its daemons."""

    services: tuple[str, ...] = ("orchestrator", "node")
    restarted: tuple[str, ...] = ("orchestrator", "node")
    operator: OperatorClient = field(default_factory=lambda: OperatorClient(ADMIN_SOCKET, 2.0))

    def netns(self, router_id: str) -> str:
        return "astara-" + instance_id(ResourceKey("router", router_id), _SLOT)

    def nat(self) -> tuple[str, ...]:
        return ("nft", "list", "table", "inet", "astara")

    def translates(self, shown: str, outside: str) -> bool:
        """The rule that asks the map, and the gateway's address in the map."""
        source = re.search(r"map gateway_source \{.*?elements = \{(.*?)\}", shown, re.DOTALL)
        there = source is not None and outside in re.findall(r"[\d.]+", source.group(1))
        return there and "oifname map @gateway_source" in shown

    def restart_mark(self) -> Callable[[Collection[str]], bool]:
        started = self.operator.status().started_at

        def verified(routers: Collection[str]) -> bool:
            with contextlib.suppress(NotReachable, TimeoutError):
                status = self.operator.status()
                if status.started_at == started or status.last_resync_at is None or status.queue or status.working:
                    return False
                settled = {line.key for line in self.operator.resources() if line.phase == "configured"}
                healthy = {line.resource for line in self.operator.instances() if line.health == "healthy"}
                wanted = {f"router/{router}" for router in routers}
                return wanted <= settled and wanted <= healthy
            return False

        return verified

    def clean_up(self) -> None:
        return None


@dataclass(frozen=True)
class L3Agent:
    """neutron-l3-agent with its privileged helpers and the daemons it starts."""

    lab: Lab
    services: tuple[str, ...] = ("neutron-l3-agent",)
    restarted: tuple[str, ...] = ("neutron-l3-agent",)

    def netns(self, router_id: str) -> str:
        return f"qrouter-{router_id}"

    def nat(self) -> tuple[str, ...]:
        return ("iptables-save", "-t", "nat")

    def translates(self, shown: str, outside: str) -> bool:
        return f"--to-source {outside}" in shown

    def restart_mark(self) -> Callable[[Collection[str]], bool]:
        log = self.lab.log / "neutron-l3-agent.log"
        position = log.stat().st_size

        def verified(routers: Collection[str]) -> bool:
            with log.open(errors="replace") as lines:
                lines.seek(position)
                done = set(re.findall(r"Finished a router update for (\S+?),", lines.read()))
            return done >= set(routers)

        return verified

    def clean_up(self) -> None:
        """With ovs_use_veth br-int keeps a port for each device that died with its peer; a boot has none."""
        vsctl = ("ovs-vsctl", f"--db=unix:{OVSDB_SOCKET}")
        listed = subprocess.run([*vsctl, "list-ports", "br-int"], capture_output=True, text=True, check=True)
        for port in listed.stdout.split():
            if port.startswith("tap") and not Path(f"/sys/class/net/{port}").exists():
                subprocess.run([*vsctl, "--no-wait", "del-port", "br-int", port], check=True)
