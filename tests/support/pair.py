"""Two halves of one router on two "nodes", with tenant machines around them. Needs root.

A node is a namespace with a bridge per network; links between the nodes join the bridges. Machines are on node 1.

    inside   10.0.0.0/24   machine .5, router .1, metadata .2    heart   169.254.192.0/18: the halves alone
    outside  192.0.2.0/24  machine .9, router .1 (SNAT)
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from astara.appliance.apply.engine import Engine
from astara.appliance.boundaries import Place
from astara.appliance.subsystems.conntrackd.subsystem import ConntrackdSubsystem
from astara.appliance.subsystems.gate.subsystem import GateSubsystem
from astara.appliance.subsystems.keepalived.subsystem import KeepalivedSubsystem
from astara.appliance.subsystems.kernel import kernel_subsystems
from astara.contract.agent import Role
from astara.contract.document import document
from astara.contract.generation import Generation
from astara.drivers.router.appliance import RouterAppliance
from astara.drivers.router.schema import Pair, RouterSection
from astara_lab.namespaces import within
from support.builders.router import external, internal
from support.segment import Machine, eventually, ip
from support.terrain import Unseen

INSIDE_MAC, OUTSIDE_MAC = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"
HEART_MACS = ("fa:16:3e:00:01:01", "fa:16:3e:00:01:02")
HEARTS = ("169.254.192.1", "169.254.192.2")
GATEWAY, ROUTER_OUTSIDE, WEB, WORLD = "10.0.0.1", "192.0.2.1", "10.0.0.5", "192.0.2.9"
SERVICE, METADATA = "10.0.0.2", "169.254.169.254"
NETWORKS = ("in", "out", "heart")


def section(half: int, advert_ms: int = 20, **more: object) -> RouterSection:
    """Return the document of half 0 or 1."""
    plain = RouterSection(
        router_id="r",
        internal=(internal(INSIDE_MAC, f"{GATEWAY}/24"),),
        external=(external(OUTSIDE_MAC, f"{ROUTER_OUTSIDE}/24", nexthops=(WORLD,), snat=ROUTER_OUTSIDE),),
        pair=Pair(
            mac=HEART_MACS[half],
            port_id=f"heart-{half}",
            network_id="heart",
            mtu=1500,
            address=f"{HEARTS[half]}/18",
            peer=HEARTS[1 - half],
            advert_ms=advert_ms,
            peer_mac=HEART_MACS[1 - half],
        ),
    )
    return replace(plain, **more)


def engine() -> Engine:
    """What a node agent's engine has, without what this test is not about."""
    daemons = (Unseen("radvd"), ConntrackdSubsystem(), KeepalivedSubsystem())
    return Engine((GateSubsystem(), *kernel_subsystems(), *daemons), {"router": RouterAppliance()})


class Half:
    """One instance; `ports` are the outer ends of its links, on its node."""

    def __init__(self, index: int, tag: str, files: Path) -> None:
        self.index = index
        self.node = f"astara-n{tag}{index}"
        self.netns = f"astara-h{tag}{index}"
        self.place = Place(str(uuid.uuid4()), Path("/run/netns") / self.netns, files / f"half{index}")
        self.ports = {network: f"p-{network}" for network in NETWORKS}
        self.engine = engine()
        self._revision = 0

    def plug(self) -> None:
        ip("netns", "add", self.netns)
        ip("-n", self.netns, "link", "set", "lo", "up")
        macs = dict(zip(NETWORKS, (INSIDE_MAC, OUTSIDE_MAC, HEART_MACS[self.index]), strict=True))
        for network, port in self.ports.items():
            link = f"e-{network}"
            ip("-n", self.node, "link", "add", "name", port, "type", "veth", "peer", "name", link, "netns", self.netns)
            ip("-n", self.node, "link", "set", port, "master", f"br-{network}", "up")
            Machine(self.netns, "").sysctl(f"net.ipv6.conf.{link}.disable_ipv6", "1")
            ip("-n", self.netns, "link", "set", link, "address", macs[network])

    def configure(self, advert_ms: int = 20, **more: object) -> None:
        self._revision += 1
        wish = section(self.index, advert_ms, **more)
        self.engine.apply(self.place, document("router", Generation(1, self._revision), wish))

    def role(self) -> Role | None:
        return self.engine.state(self.place).role

    def told(self) -> str:
        """Return what to read when a test fails."""
        log = (self.place.files / "keepalived" / "log").read_text().splitlines()[-12:]
        return "\n".join([f"half {self.index}: {self.role()}, {self.pids('keepalived')}", *log])

    def reconnect(self, *, connected: bool, networks: tuple[str, ...] = NETWORKS) -> None:
        """Let its bridge ports forward, or not: the links stay up, which is what makes a death silent."""
        state = "3" if connected else "0"
        lines = "".join(f"link set dev {self.ports[network]} state {state}\n" for network in networks)
        batch = ["bridge", "-n", self.node, "-batch", "-"]  # all at once, or the first is cut before the last
        subprocess.run(batch, input=lines, text=True, check=True)

    def pids(self, daemon: str) -> list[int]:
        """Return the processes of one daemon, parents first."""
        found = [int(pid) for pid in ip("netns", "pids", self.netns).split()]
        return sorted(pid for pid in found if daemon in _program(pid))

    def kill(self) -> None:
        """End every process in it at once, and take its namespace away: nobody says goodbye."""
        for pid in ip("netns", "pids", self.netns).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        for port in self.ports.values():  # at once: with its namespace it goes when the kernel finds time
            ip("-n", self.node, "link", "del", port)
        ip("netns", "del", self.netns)


def _program(pid: int) -> str:
    with contextlib.suppress(OSError):  # it has ended
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]
    return ""


class TwoNodes:
    """The world of this module. `halves[0]` is on node 1, where the machines are."""

    def __init__(self, files: Path) -> None:
        tag = uuid.uuid4().hex[:5]
        self.halves = (Half(0, tag, files), Half(1, tag, files))
        self._made: list[str] = []
        first, second = (half.node for half in self.halves)
        for node in (first, second):
            self._namespace(node)
            for network in NETWORKS:
                ip("-n", node, "link", "add", "name", f"br-{network}", "type", "bridge", "mcast_snooping", "0")
                ip("-n", node, "link", "set", f"br-{network}", "up")
        for network in NETWORKS:
            trunk = f"t-{network}"
            ip("-n", first, "link", "add", "name", trunk, "type", "veth", "peer", "name", trunk, "netns", second)
            for node in (first, second):
                ip("-n", node, "link", "set", trunk, "master", f"br-{network}", "up")
        self.web = self._machine(f"astara-w{tag}", first, "in", WEB)
        self.world = self._machine(f"astara-o{tag}", first, "out", WORLD)
        self.web.run("ip", "route", "add", "default", "via", GATEWAY)
        self.service = self._machine(f"astara-s{tag}", first, "in", SERVICE)
        self.service.run("ip", "addr", "add", f"{METADATA}/32", "dev", "eth0")
        for half in self.halves:
            half.plug()

    def ready(self, advert_ms: int = 20) -> tuple[Half, Half]:
        """Configure both and return (active, standby)."""
        for half in self.halves:
            half.configure(advert_ms)
        return self.settled()

    def settled(self) -> tuple[Half, Half]:
        """Wait until one is active and the other stands by; return them in this order."""

        def decided() -> bool:
            return {half.role() for half in self.halves} == {Role.ACTIVE, Role.STANDBY}

        assert eventually(decided), [half.role() for half in self.halves]
        first, second = self.halves
        return (first, second) if first.role() is Role.ACTIVE else (second, first)

    def close(self) -> None:
        for half in self.halves:
            if half.place.netns is not None and half.place.netns.exists():
                half.engine.remove(half.place)
                ip("netns", "del", half.netns)
        for name in self._made:
            for pid in ip("netns", "pids", name).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            ip("netns", "del", name)

    def _namespace(self, name: str) -> None:
        ip("netns", "add", name)
        self._made.append(name)

    def flood(self, network: str, frame: bytes) -> None:
        """Have node 0's switch of a network bring a frame to its half."""
        with within(self.halves[0].node, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as switch:
            switch.bind((self.halves[0].ports[network], 0))
            switch.send(frame)

    def machine(self, network: str, address: str, node: int) -> Machine:
        """Return one more machine on a network, on node 0 or 1."""
        return self._machine(f"astara-m{uuid.uuid4().hex[:5]}", self.halves[node].node, network, address)

    def _machine(self, name: str, node: str, network: str, address: str) -> Machine:
        self._namespace(name)
        outer = f"m-{address}"
        ip("-n", node, "link", "add", "name", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("-n", node, "link", "set", outer, "master", f"br-{network}", "up")
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        return Machine(name, "")


@contextlib.contextmanager
def two_nodes(files: Path) -> Iterator[TwoNodes]:
    made = TwoNodes(files)
    try:
        yield made
    finally:
        made.close()
