"""How long a router that is a server of Nova's takes, cold and out of the pool, beside Nova's own time.

    make bench-nova ARGS='--rounds 3'

Run inside a lab of profile `cloud`. One router at a time: its network with DHCP and a tenant's machine is there before.
The clock starts when `router create` has returned; its interface follows at once. Each thing is looked for every 50 ms:

    active    Nova shows the server ACTIVE (cold only)
    listens   the agent inside takes a connection on the management network
    forwards  a packet from the tenant's machine has been outside and back, translated
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from click.testing import CliRunner

from astara.admin.cli import cli
from astara_lab.control import Control
from astara_lab.hosts import Hosts, OutsideHost
from astara_lab.places import ADMIN_SOCKET, CLOUD_NAME, EXTERNAL_PHYSNET, find_lab
from astara_lab.pod import Pod
from astara_lab.profiles.astara import restarted
from astara_lab.profiles.cloud import NOVA_FLAVOR
from astara_lab.waiting import until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import openstack

_EVERY_S = 0.05
_LIMIT_S = 300.0
_AGENT_PORT = 19801
_OUTSIDE = "198.51.100.1"
_SPARES = 1


@dataclass
class Bench:
    connection: Any
    hosts: Hosts
    external: Any
    figures: dict[str, list[float]] = field(default_factory=dict)

    def note(self, what: str, seconds: float) -> None:
        self.figures.setdefault(what, []).append(round(seconds, 2))
        sys.stderr.write(f"{what}: {seconds:.2f} s (load {os.getloadavg()[0]:.1f})\n")

    def plain_server(self) -> None:
        """Nova's own time for a guest, asked as anybody asks."""
        compute = self.connection.compute
        network = self.connection.network.create_network(name="plain")
        self.connection.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.8.0.0/24")
        began = time.monotonic()
        server = compute.create_server(
            name="plain",
            image_id=self.connection.image.find_image("guest").id,
            flavor_id=compute.find_flavor("small").id,
            networks=[{"uuid": network.id}],
        )
        _wait("ACTIVE", lambda: compute.get_server(server.id).status == "ACTIVE")
        self.note("plain server: active", time.monotonic() - began)
        compute.delete_server(server.id)
        compute.wait_for_delete(server, interval=0.5, wait=60)
        self.connection.network.delete_network(network.id)

    def router(self, kind: str, number: int) -> None:
        """One router's life."""
        network = self.connection.network
        with _network(network, self.hosts, number) as (subnet, guest):
            made = network.create_router(
                name=f"bench-{number}",
                flavor_id=network.find_flavor(NOVA_FLAVOR).id,
                external_gateway_info={"network_id": self.external.id},
            )
            began = time.monotonic()
            network.add_interface_to_router(made, subnet_id=subnet)
            self.note(f"{kind}: interface added", time.monotonic() - began)
            try:
                self._times(kind, made.id, guest, began)
            finally:
                network.remove_interface_from_router(made, subnet_id=subnet)
                network.delete_router(made.id)
            _wait("gone", lambda: not self._servers(made.id))

    def _times(self, kind: str, router: str, guest: Any, began: float) -> None:
        seen: dict[str, float] = {}

        def active() -> bool:
            return any(one.status == "ACTIVE" for one in self._servers(router))

        def listens() -> bool:
            address = self._management(router)
            with contextlib.suppress(OSError), socket.create_connection((address, _AGENT_PORT), timeout=0.3):
                return True
            return False

        def forwards() -> bool:
            return guest.ping(_OUTSIDE, 0.3) is not None

        for what, look in (("active", active), ("listens", listens), ("forwards", forwards)):
            _wait(what, look)
            seen[what] = time.monotonic() - began
        for what, seconds in seen.items():
            if kind == "cold" or what == "forwards":
                self.note(f"{kind}: {what}", seconds)

    def _servers(self, router: str) -> list[Any]:
        tag = f"astara:router:{router}"
        return list(self.connection.compute.servers(all_projects=True, tags=tag))

    def _management(self, router: str) -> str:
        home = self.connection.network.find_network("management").id
        (server,) = self._servers(router)
        (port,) = self.connection.network.ports(device_id=server.id, network_id=home)
        return str(port.fixed_ips[0]["ip_address"])


@contextlib.contextmanager
def _network(network: Any, hosts: Hosts, number: int) -> Iterator[tuple[str, Any]]:
    name = f"bench-{number}"
    net = network.create_network(name=name)
    subnet = network.create_subnet(network_id=net.id, ip_version=4, cidr=f"10.8.{number}.0/24")
    guest = hosts.add(name, net.id)
    try:
        yield subnet.id, guest
    finally:
        hosts.delete(name)
        network.delete_network(net.id)


def _wait(what: str, look: Callable[[], bool]) -> None:
    until(what, look, _LIMIT_S, _EVERY_S)


def _spares_ready() -> bool:
    answer = CliRunner().invoke(cli, ["--socket", str(ADMIN_SOCKET), "pool", "--json"], prog_name="astara")
    lines = json.loads(answer.output) if answer.exit_code == 0 else []
    return any(line["provider"] == "nova" and line["ready"] >= _SPARES for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rest-s", type=float, default=10.0, help="nothing happens for that long before each round")
    asked = parser.parse_args()
    lab = find_lab()
    connection = openstack.connect(cloud=CLOUD_NAME)
    network = connection.network
    external = network.create_network(
        name="public", is_router_external=True, provider_network_type="flat", provider_physical_network=EXTERNAL_PHYSNET
    )
    network.create_subnet(
        network_id=external.id, ip_version=4, cidr="198.51.100.0/24", gateway_ip=_OUTSIDE, is_dhcp_enabled=False
    )
    outside = OutsideHost.open(lab, external.id)
    bench = Bench(connection, Hosts(lab), external)
    for _ in range(asked.rounds):
        time.sleep(asked.rest_s)
        bench.plain_server()
    for number in range(asked.rounds):
        time.sleep(asked.rest_s)
        bench.router("cold", number)
    with (lab.etc / "astara.conf").open("a") as conf:
        conf.write(f"\n[pool]\nnova = {_SPARES}..{_SPARES}\n")
    restarted(Control(Pod(lab)), "orchestrator")
    for number in range(asked.rounds, 2 * asked.rounds):
        _wait("a spare", _spares_ready)
        time.sleep(asked.rest_s)
        bench.router("warm", number)
    outside.close(lab)
    result = {what: {"median": statistics.median(all_), "all": all_} for what, all_ in bench.figures.items()}
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
