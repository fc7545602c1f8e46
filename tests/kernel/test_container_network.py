"""A network's instance in a container: the daemons are inside, metadata is served by the node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from astara.appliance.subsystems.metadata.subsystem import MetadataSubsystem
from astara.contract.agent import Health
from astara.drivers.network.appliance import NetworkAppliance
from astara.host.bodies.boundary import ApplyEngine
from support.containers import ContainerEngine, needs_podman
from support.node_agent import isolated
from support.segment import ip
from support.served_network import A, B, Network, served_network, server

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
    needs_podman,
]


class Contained(Network):
    """The same network, its engine in a container."""

    def restarted(self) -> ApplyEngine:
        beside = MetadataSubsystem(self.proxy), {"network": NetworkAppliance()}
        return ContainerEngine(self.directory, beside)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with served_network(tmp_path, Contained) as made:
        yield made


def test_a_container_gives_addresses_and_names_and_the_node_gives_metadata(network: Network) -> None:
    network.push(server(A, "10.1.0.5"), server(B, "10.1.0.6"))
    machine = network.lan.machine(A)
    assert network.v4(machine).lease()["ip"] == "10.1.0.5"
    machine.run("ip", "addr", "replace", "10.1.0.5/24", "dev", "eth0")
    assert "10.1.0.6" in machine.run("busybox", "nslookup", "server-0b", "10.1.0.2")
    machine.run("ip", "route", "replace", "169.254.169.254/32", "dev", "eth0")
    said = machine.run("busybox", "wget", "-qO-", "http://169.254.169.254/openstack/latest/meta_data.json")
    assert json.loads(said)["x-instance-id"] == "id-0a"


def test_a_proxy_that_does_not_serve_the_container_any_more_is_seen_and_mended(network: Network) -> None:
    network.push(server(A, "10.1.0.5"))
    namespace, engine = network.lan.place, network.engine
    network.proxy.withdraw(engine._own(namespace))  # type: ignore[attr-defined]
    state = engine.state(namespace)
    assert (state.health, [one.subsystem for one in state.deviations]) == (Health.DEGRADED, ["metadata"])
    assert engine.repair(namespace).health is Health.HEALTHY
    assert "10.1.0.2" in ip("-n", network.lan.server, "addr")
