"""Real node agents for tests: certificates, an agent in this process or in one of its own, and what to ask it.

Needs root and a network namespace that nobody else uses (`make kernel`).
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astara.appliance.boundaries import Appliance
from astara.clients.appliance import NodeClient, NodeEndpoint, NodeTimeouts
from astara.clients.authority import Authority, issue, open_authority
from astara.contract.agent import InstanceSpec, Key, PortAttachment
from astara.contract.codec import ContractError
from astara.contract.document import Document, document
from astara.contract.generation import Generation
from astara.contract.identity import ORCHESTRATOR, node_role
from astara.drivers.router.schema import ExternalLink, InternalLink, RouterSection
from astara.host.healer import Pace
from astara.host.main import Agent
from astara.host.options import NodeOptions, OvsOptions
from astara.model.errors import Retry
from astara.peers.identity import Identity
from astara_suites.providers import ProbeSection
from support.segment import eventually

NODE = "node-a"


def isolated() -> bool:
    """Whether this is a network namespace of our own: root, and no way out."""
    routes = Path("/proc/net/route").read_text().splitlines()[1:]
    return os.geteuid() == 0 and not any(line.split()[1] == "00000000" for line in routes)


class ProbeAppliance:
    """Configures nothing; refuses the words "bad"."""

    name = "probe"
    section_type = ProbeSection

    def configs(self, section: ProbeSection) -> Mapping[str, Any]:
        if section.words == "bad":
            raise ContractError("$.words", "a bad word", "choose others")
        return {}


PROBE: dict[str, Appliance] = {"probe": ProbeAppliance()}


@dataclass(frozen=True)
class Deployment:
    """A CA with the identities of one orchestrator and one node, and the node's options."""

    authority: Authority
    orchestrator: Identity
    options: NodeOptions

    @classmethod
    def at(cls, directory: Path, port: int = 0, ovs: OvsOptions | None = None) -> Deployment:
        now = datetime.datetime.now(datetime.UTC)
        authority = open_authority(directory / "tls", now)
        node = issue(authority, NODE, node_role(NODE), ["127.0.0.1"], now)
        options = NodeOptions(
            name=NODE,
            state_dir=directory / "state",
            host="127.0.0.1",
            port=port,
            ca_file=node.ca_file,
            cert_file=node.cert_file,
            key_file=node.key_file,
            ovs=ovs or OvsOptions(),
        )
        return cls(authority, issue(authority, "orchestrator", ORCHESTRATOR, [], now), options)

    def endpoint(self, port: int) -> NodeEndpoint:
        return NodeEndpoint(NODE, f"https://127.0.0.1:{port}")

    def client(self, port: int, identity: Identity | None = None, term: int = 0) -> NodeClient:
        timeouts = NodeTimeouts(quiet_s=0.0)
        return NodeClient(self.endpoint(port), identity or self.orchestrator, timeouts, term=lambda: term)

    def write_config(self, path: Path, port: int) -> None:
        options = self.options
        path.write_text(
            f"[DEFAULT]\nname = {options.name}\nstate_dir = {options.state_dir}\nlisten = 127.0.0.1:{port}\n"
            f"ca_file = {options.ca_file}\ncert_file = {options.cert_file}\nkey_file = {options.key_file}\n"
            f"serves = {options.serves.removeprefix('astara:role/')}\nsolitary = {options.solitary}\n"
        )


@contextlib.contextmanager
def running(
    deployment: Deployment, appliances: Mapping[str, Appliance] | None = None, pace: Pace | None = None
) -> Iterator[tuple[Agent, NodeClient]]:
    """An agent in this process and a client of it; its instances are left when it ends, as in life."""
    agent = Agent(deployment.options, appliances, pace)
    agent.start()
    client = deployment.client(agent.server.port)
    try:
        yield agent, client
    finally:
        client.close()
        agent.stop()


class AgentProcess:
    """`astara-node` as an operator starts it."""

    def __init__(self, deployment: Deployment, directory: Path, port: int) -> None:
        self.config = directory / "node.conf"
        self.log = directory / "node.log"
        deployment.write_config(self.config, port)
        self.client = deployment.client(port)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).parent / "astara-node"), "--config-file", str(self.config)],
                stdout=log,
                stderr=log,
            )
        if not eventually(self._answers, within_s=30.0):
            raise RuntimeError(self.log.read_text())

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(signum)
        return self._process.wait(timeout=30)

    def cpu_s(self) -> float:
        """CPU time used by the process so far (proc(5))."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(self.log.read_text())
        try:
            self.client.node()
        except Retry:
            return False
        return True


def mac() -> str:
    return "fa:16:3e:" + os.urandom(3).hex(":")


def port(network_id: str | None = None, **changes: Any) -> PortAttachment:
    """A port with ids of its own on `network_id`, or on a network of its own."""
    made = PortAttachment(port_id=str(uuid.uuid4()), mac=mac(), network_id=network_id or str(uuid.uuid4()))
    values = {name: getattr(made, name) for name in made.__struct_fields__} | changes
    return PortAttachment(**values)


def spec(*ports: PortAttachment, generation: Generation | None = None, driver: str = "router") -> InstanceSpec:
    return InstanceSpec(
        id=str(uuid.uuid4()),
        key=Key(driver=driver, id=str(uuid.uuid4())),
        slot="0",
        generation=generation or Generation(1, 1),
        ports=ports,
    )


def router_document(
    instance: InstanceSpec, generation: Generation | None = None, inside: str = "10.0.0.1/24", outside: str = ""
) -> Document:
    """A router with its first port inside and, if `outside` is given, its second port outside."""
    first, *others = instance.ports
    section = RouterSection(
        router_id=instance.key.id,
        internal=(
            InternalLink(
                mac=first.mac,
                port_id=first.port_id,
                network_id=first.network_id,
                mtu=first.mtu,
                addresses=(inside,),
            ),
        ),
        external=tuple(_external(one, outside) for one in others[:1] if outside),
    )
    return document("router", generation or instance.generation, section)


def _external(one: PortAttachment, address: str) -> ExternalLink:
    return ExternalLink(
        mac=one.mac,
        port_id=one.port_id,
        network_id=one.network_id,
        mtu=one.mtu,
        addresses=(address,),
        snat_v4=address.partition("/")[0],
    )
