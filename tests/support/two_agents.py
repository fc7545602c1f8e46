"""One router as a pair of bodies on two nodes, each with a node agent of its own. Needs root, and `tests/isolated`.

A node is a network namespace with its own mounts, joined to the other by a wire over which its networks span (VXLAN). A
tenant's machine and one outside are on the first node's bridges.

    inside   10.0.0.0/24   machine .5, router .1          heart   169.254.192.0/18: the halves alone
    outside  192.0.2.0/24  machine .9, router .1 (SNAT)
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec.structs import replace

import astara
from astara.clients.appliance import NodeClient, NodeEndpoint, NodeTimeouts
from astara.clients.authority import issue, open_authority
from astara.contract.agent import Body, Health, InstanceSpec, Key, PortAttachment, Role, StateView
from astara.contract.document import document
from astara.contract.generation import Generation
from astara.contract.identity import ORCHESTRATOR, node_role
from astara.drivers.router.schema import Pair, RouterSection
from astara.host.attach.bridge import bridge_name
from astara.host.links import host_name
from astara.model.errors import AstaraError, Retry
from support.builders.router import external, internal
from support.containers import CONFIGURATION, IMAGE, credential
from support.machines import IMAGES
from support.node_agent import mac
from support.pair import GATEWAY, HEARTS, NETWORKS, ROUTER_OUTSIDE, WEB, WORLD, section
from support.segment import Machine, ip

_PORT = 19801
_MTU = 1450
#: Between two looks: each is TLS and a whole read-back, which keep an emulated processor busy for tenths of a second.
_LOOK_EVERY_S = {"namespace": 0.02, "container": 0.05, "microvm": 1.0}
#: A machine without KVM boots, and answers, as slowly as the processor is busy.
PATIENCE_S = {"namespace": 10.0, "container": 60.0, "microvm": 300.0}
_LAST = Generation(99, 0)
_OWN_PLACES = (
    "mount -t sysfs sysfs /sys && mount -t cgroup2 cgroup2 /sys/fs/cgroup && "
    'mount -t tmpfs -o mode=755 tmpfs /run/netns && exec "$@"'
)


class Node:
    """One node and its agent, a process of its own; `number` is 0 or 1."""

    def __init__(self, number: int, tag: str, files: Path) -> None:
        self.number = number
        self.name = f"node-{'ab'[number]}"
        self.netns = f"astara-n{tag}{number}"
        self.address = f"10.255.255.{number + 1}"
        self.control = f"10.255.254.{4 * number + 2}"
        self.files = files / self.name
        self.log = self.files / "log"
        self._uplink = f"ctl{tag}{number}"
        self._process: subprocess.Popen[bytes] | None = None
        self.files.mkdir(parents=True)
        ip("netns", "add", self.netns)
        ip("-n", self.netns, "link", "set", "lo", "up")
        ip("link", "add", "name", self._uplink, "type", "veth", "peer", "name", "control", "netns", self.netns)
        ip("addr", "add", f"10.255.254.{4 * number + 1}/30", "dev", self._uplink)
        ip("link", "set", self._uplink, "up")
        ip("-n", self.netns, "addr", "add", f"{self.control}/30", "dev", "control")
        ip("-n", self.netns, "link", "set", "control", "up")

    def wire(self, other: Node) -> None:
        """Join both nodes."""
        words = ("link", "add", "name", "wire", "mtu", "1600", "type", "veth", "peer", "name", "wire", "mtu", "1600")
        ip("-n", self.netns, *words, "netns", other.netns)
        for node in (self, other):
            ip("-n", node.netns, "addr", "add", f"{node.address}/30", "dev", "wire")
            ip("-n", node.netns, "link", "set", "wire", "up")

    def start(self, tls: Path, other: Node) -> None:
        """Start the agent and wait for its first answer."""
        storage = Path("/run") / f"containers.{self.netns}"
        storage.mkdir()
        (storage / "containers.conf").write_text(CONFIGURATION)
        sources = Path(astara.__file__).resolve().parents[1]
        own = self.files / "node.conf"
        own.write_text(
            f"[DEFAULT]\nname = {self.name}\nstate_dir = {self.files / 'state'}\nlisten = {self.control}:{_PORT}\n"
            f"ca_file = {tls}/ca.crt\ncert_file = {tls}/{self.name}.crt\nkey_file = {tls}/{self.name}.key\n"
            f"[bridge]\ntunnel_address = {self.address}\ntunnel_peers = {other.address}\n"
            f"[container]\nimage = {IMAGE}\nroots = {IMAGE}:/\nstorage = {storage}\nboot_deadline_s = 60\n"
            f"containers_conf = {storage / 'containers.conf'}\n"
            f"command = env PYTHONPATH={sources} {sys.executable} -m astara.host.container\n"
            f"[microvm]\nimages_dir = {IMAGES}\naccel = tcg\nboot_deadline_s = {PATIENCE_S['microvm']}\n"
        )
        agent = (str(Path(sys.executable).parent / "astara-node"), "--config-file", str(own))
        inside = ("nsenter", f"--net=/run/netns/{self.netns}", "unshare", "--mount", "--", "sh", "-c", _OWN_PLACES)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*inside, "sh", *agent], stdout=log, stderr=log)

    def within(self, *argv: str) -> str:
        """Run a command where the agent is, and return what it printed; failures are left to the caller."""
        assert self._process is not None
        words = ("nsenter", f"--target={self._process.pid}", "--net", "--mount", "--", *argv)
        return subprocess.run(words, check=False, capture_output=True, text=True).stdout

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
        for pid in ip("netns", "pids", self.netns).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        ip("link", "del", self._uplink)
        ip("netns", "del", self.netns)


class BodiedHalf:
    """One instance of the pair."""

    def __init__(self, node: Node, client: NodeClient, spec: InstanceSpec) -> None:
        self.node = node
        self.client = client
        self.spec = spec
        self.netns = f"astara-{spec.id}"
        self.heard = ""

    def state(self) -> StateView | None:
        """Read back now; None while nobody answers."""
        try:
            return self.client.state(self.spec.id)
        except AstaraError as error:
            self.heard = str(error)
            return None

    def role(self) -> Role | None:
        """Of an instance that is well."""
        found = self.state()
        return found.role if found is not None and found.health is Health.HEALTHY else None

    def pids(self) -> list[int]:
        """Of everything that runs in its namespace on the node: QEMU, a container's processes."""
        return [int(pid) for pid in self.node.within("ip", "netns", "pids", self.netns).split()]

    def kill(self) -> None:
        """SIGKILL for all of it: a machine's QEMU, a container's processes."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def cut_off(self, network: str, *, back: bool = False) -> None:
        """Let its port on the bridge of a network forward nothing, or again: its links stay up."""
        port = self.spec.ports[NETWORKS.index(network)]
        self.node.within("bridge", "link", "set", "dev", host_name(port.port_id), "state", "3" if back else "0")

    def told(self) -> str:
        """What to read when a test fails."""
        return f"{self.node.name}: {self.state() or self.heard}\n{self.node.log.read_text()[-3000:]}"


class TwoAgents:
    """The world of this module. `body` is the halves' kind."""

    def __init__(self, files: Path, body: str, advert_ms: int) -> None:
        tag = uuid.uuid4().hex[:5]
        self.body = body
        self.patience_s = PATIENCE_S[body]
        self._look_every_s = _LOOK_EVERY_S[body]
        self._advert_ms = advert_ms
        self._revision = 1
        self._networks = {name: str(uuid.uuid4()) for name in NETWORKS}
        self._macs = {name: mac() for name in ("in", "out")}
        self._hearts = (mac(), mac())
        self._hosts: list[str] = []
        self.nodes = (Node(0, tag, files), Node(1, tag, files))
        self.nodes[0].wire(self.nodes[1])
        now = datetime.datetime.now(datetime.UTC)
        self._authority = open_authority(files / "tls", now)
        orchestrator = issue(self._authority, "orchestrator", ORCHESTRATOR, [], now)
        timeouts = NodeTimeouts(read_s=self.patience_s, quiet_s=0.0)
        halves = []
        for node in self.nodes:
            issue(self._authority, node.name, node_role(node.name), [node.control], now)
            node.start(files / "tls", self.nodes[1 - node.number])
            client = NodeClient(
                NodeEndpoint(node.name, f"https://{node.control}:{_PORT}"), orchestrator, timeouts, term=lambda: 0
            )
            halves.append(BodiedHalf(node, client, self._spec(node)))
        self.halves = (halves[0], halves[1])
        self.web = self._machine(f"astara-w{tag}")
        self.world = self._machine(f"astara-o{tag}")

    def ready(self) -> tuple[BodiedHalf, BodiedHalf]:
        """Make both, configure both; return (active, standby)."""
        for half in self.halves:
            assert self.eventually(lambda half=half: self._offers(half)), half.heard
            half.client.put_instance(half.spec)
        self._plug(self.web.netns, "in", WEB)
        self._plug(self.world.netns, "out", WORLD)
        for half in self.halves:
            self._configured(half)
        return self.settled()

    def settled(self) -> tuple[BodiedHalf, BodiedHalf]:
        """Wait until one is active and the other stands by; return them in this order."""

        def decided() -> bool:
            return {half.role() for half in self.halves} == {Role.ACTIVE, Role.STANDBY}

        assert self.eventually(decided), "\n".join(half.told() for half in self.halves)
        first, second = self.halves
        return (first, second) if first.role() is Role.ACTIVE else (second, first)

    def eventually(self, look: Callable[[], object]) -> bool:
        """Look until it is so, with the patience this body needs."""
        deadline = time.monotonic() + self.patience_s
        while not (seen := bool(look())) and time.monotonic() < deadline:
            time.sleep(self._look_every_s)
        return seen

    def reaches(self) -> bool:
        """Whether the tenant's machine reaches the world outside."""
        return " 0% packet loss" in self.web.run("ping", "-c", "1", "-W", "2", WORLD, check=False)

    def close(self) -> None:
        for half in self.halves:
            with contextlib.suppress(AstaraError):
                half.client.delete_instance(half.spec.id, _LAST)
            half.client.close()
        for node in self.nodes:
            node.close()
        for name in self._hosts:
            ip("netns", "del", name)

    # How

    def _spec(self, node: Node) -> InstanceSpec:
        identifier = str(uuid.uuid4())
        macs = self._macs | {"heart": self._hearts[node.number]}
        ports = tuple(
            PortAttachment(
                port_id=str(uuid.uuid4()),
                mac=macs[name],
                network_id=self._networks[name],
                mtu=_MTU,
                attach="bridge",
                network_type="vxlan",
                segmentation_id=100 + number,
            )
            for number, name in enumerate(NETWORKS)
        )
        namespace = self.body == "namespace"
        return InstanceSpec(
            id=identifier,
            key=Key(driver="router", id="r"),
            slot=str(node.number),
            generation=Generation(1, 1),
            ports=ports,
            body=Body(kind=self.body),
            credential=None if namespace else credential(self._authority, identifier),
        )

    def _offers(self, half: BodiedHalf) -> bool:
        """A machine's node has its template before it is asked for machines: they are what a node has in practice."""
        try:
            kinds = half.client.node().bodies
        except Retry as error:
            half.heard = str(error)
            return False
        pictures = list((half.node.files / "state/templates").glob("*/picture"))
        return self.body in kinds and (self.body != "microvm" or bool(pictures))

    def _configured(self, half: BodiedHalf) -> None:
        wish = document("router", Generation(1, self._revision), self._section(half.node.number))

        def taken() -> bool:
            try:
                half.client.configure(half.spec.id, wish)
            except Retry as error:
                half.heard = str(error)
                return False
            return True

        assert self.eventually(taken), half.heard

    def _section(self, number: int) -> RouterSection:
        pair = Pair(
            mac=self._hearts[number],
            port_id=f"heart-{number}",
            network_id="heart",
            mtu=_MTU,
            address=f"{HEARTS[number]}/18",
            peer=HEARTS[1 - number],
            advert_ms=self._advert_ms,
            peer_mac=self._hearts[1 - number],
        )
        return replace(
            section(number),
            internal=(replace(internal(self._macs["in"], f"{GATEWAY}/24"), mtu=_MTU),),
            external=(
                replace(
                    external(self._macs["out"], f"{ROUTER_OUTSIDE}/24", nexthops=(WORLD,), snat=ROUTER_OUTSIDE),
                    mtu=_MTU,
                ),
            ),
            pair=pair,
        )

    def _machine(self, name: str) -> Machine:
        ip("netns", "add", name)
        self._hosts.append(name)
        return Machine(name, "")

    def _plug(self, netns: str, network: str, address: str) -> None:
        """Plug a machine into the bridge the first node's agent has made."""
        node = self.nodes[0].netns
        outer = f"m-{network}"
        ip("-n", node, "link", "add", "name", outer, "type", "veth", "peer", "name", "eth0", "netns", netns)
        ip("-n", node, "link", "set", outer, "master", bridge_name(self._networks[network]), "up")
        ip("-n", netns, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", netns, "link", "set", "eth0", "mtu", str(_MTU), "up")
        if network == "in":
            ip("-n", netns, "route", "add", "default", "via", GATEWAY)


@contextlib.contextmanager
def two_agents(files: Path, body: str, advert_ms: int = 20) -> Iterator[TwoAgents]:
    made = TwoAgents(files, body, advert_ms)
    try:
        yield made
    finally:
        made.close()
