"""A network document through the engine with its real daemons. Needs root."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from astara.appliance.apply.engine import Engine
from astara.appliance.subsystems.dnsmasq.subsystem import DnsmasqSubsystem
from astara.appliance.subsystems.kernel import kernel_subsystems
from astara.appliance.subsystems.metadata.proxy import MetadataProxy
from astara.appliance.subsystems.metadata.subsystem import MetadataSubsystem
from astara.appliance.subsystems.radvd.subsystem import RadvdSubsystem
from astara.contract.agent import Health, Outcome
from astara.contract.document import document
from astara.contract.generation import Generation
from astara.drivers.network.appliance import NetworkAppliance
from astara.drivers.network.schema import AddressMode, Host, NetworkSection, ServedSubnet
from astara.host.bodies.boundary import ApplyEngine
from support.dhcp_clients import Udhcpc
from support.nova_metadata import NovaMetadata
from support.segment import SERVER_MAC, Machine, Segment, segment

SECRET = b"only the node and Nova know"
A, B = "fa:16:3e:00:00:0a", "fa:16:3e:00:00:0b"
V4 = ServedSubnet(id="v4", cidr="10.1.0.0/24", address="10.1.0.2", mode=AddressMode.DHCPV4, gateway="10.1.0.1")
V6 = ServedSubnet(id="v6", cidr="fd01::/64", address="fd01::2", mode=AddressMode.DHCPV6_STATEFUL, gateway="fd01::1")


def server(mac: str, *addresses: str) -> Host:
    name = f"server-{mac[-2:]}"
    return Host(
        port_id=name, mac=mac, addresses=addresses, hostname=name, instance_id=f"id-{mac[-2:]}", project_id="project"
    )


class Network:
    """One network instance on a segment; `push` asks for it with an ever newer generation."""

    def __init__(self, lan: Segment, nova: NovaMetadata, directory: Path) -> None:
        self.lan = lan
        self.directory = directory
        self.proxy = MetadataProxy(nova.url, SECRET)
        self.proxy.start()
        self.engine: ApplyEngine = self.restarted()
        self.revision = 0

    def restarted(self) -> ApplyEngine:
        daemons = (DnsmasqSubsystem(), RadvdSubsystem(), MetadataSubsystem(self.proxy))
        self.engine = Engine((*kernel_subsystems(), *daemons), {"network": NetworkAppliance()})
        return self.engine

    def push(self, *hosts: Host, **changes: Any) -> Outcome:
        self.revision += 1
        wish: dict[str, Any] = {
            "network_id": "net",
            "mac": SERVER_MAC,
            "port_id": "dhcp",
            "mtu": 1442,
            "addresses": ("10.1.0.2/24", "fd01::2/64"),
            "subnets": (V4, V6),
            "hosts": hosts,
        }
        section = NetworkSection(**(wish | changes))
        report = self.engine.apply(self.lan.place, document("network", Generation(1, self.revision), section))
        assert self.engine.state(self.lan.place).health is Health.HEALTHY
        return report.outcome

    @property
    def pid(self) -> int:
        return int((self.lan.place.files / "dnsmasq" / "daemon.pid").read_text().split()[0])

    def v4(self, machine: Machine) -> Udhcpc:
        return Udhcpc(machine, self.directory)


@contextlib.contextmanager
def served_network(directory: Path, kind: type[Network] = Network) -> Iterator[Network]:
    """A network instance whose files are in `directory`/instance; its proxy asks a stand-in for Nova."""
    nova = NovaMetadata(SECRET)
    clients = directory / "clients"
    clients.mkdir()
    with segment(directory / "instance") as lan:
        made = kind(lan, nova, clients)
        try:
            yield made
        finally:
            made.engine.remove(lan.place)
            made.proxy.stop()
            nova.close()
