"""The agent inside a body: one instance, interfaces that are there already, and nobody but its host may ask."""

from __future__ import annotations

import dataclasses
import datetime
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from astara.appliance.system.netns import entered
from astara.clients.authority import issue
from astara.contract.agent import Credential, Health, PortAttachment
from astara.contract.generation import Generation
from astara.contract.identity import node_role
from astara.host import links, namespaces
from astara.host.options import Solitary
from astara.model.errors import Retry, Terminal
from support.node_agent import NODE, AgentProcess, Deployment, isolated, port, router_document, running, spec
from support.segment import eventually, ip

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]
NOW = Generation(1, 1)


def inside(name: str, *argv: str) -> str:
    return subprocess.run(["ip", "netns", "exec", name, *argv], capture_output=True, text=True, check=False).stdout


def solitary(tmp_path: Path, kind: Solitary) -> Deployment:
    made = Deployment.at(tmp_path)
    host = issue(made.authority, "host", node_role("host"), [], datetime.datetime.now(datetime.UTC))
    options = dataclasses.replace(made.options, solitary=kind, serves=node_role("host"), image="d1635")
    return dataclasses.replace(made, options=options, orchestrator=host)


# In a machine of its own


@pytest.fixture
def nic() -> Iterator[PortAttachment]:
    """An interface of this machine; its cable leads to `far0`."""
    one = port(attach="nic")
    ip("link", "add", "far0", "type", "veth", "peer", "name", "eth7", "address", one.mac)
    yield one
    ip("link", "del", "far0")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Deployment]:
    made = solitary(tmp_path, Solitary.MACHINE)
    yield made
    with running(made) as (_, client):
        for view in client.instances().instances:
            client.delete_instance(view.id, Generation(9, 0))


def test_the_machines_interface_moves_into_the_instance_and_back(machine: Deployment, nic: PortAttachment) -> None:
    instance = spec(nic)
    with running(machine) as (_, client):
        client.put_instance(instance)
        name = f"astara-{instance.id}"
        assert links.find("eth7") is None
        assert nic.mac in inside(name, "ip", "link", "show", links.inner_name(nic.port_id))
        client.configure(instance.id, router_document(instance))
        assert "10.0.0.1/24" in inside(name, "ip", "addr")
        ip("addr", "add", "10.0.0.9/24", "dev", "far0")
        ip("link", "set", "far0", "up")
        assert subprocess.run(["ping", "-c1", "-W5", "10.0.0.1"], capture_output=True, check=False).returncode == 0

        client.detach(instance.id, nic.port_id, NOW)
        assert nic.mac not in inside(name, "ip", "link")
        assert nic.mac in ip("link")
        client.attach(instance.id, nic, NOW)
        assert nic.mac in inside(name, "ip", "link")
        client.delete_instance(instance.id, NOW)
        assert not namespaces.path_of(instance.id).exists()
        assert nic.mac in ip("link")


def test_an_interface_that_has_not_come_yet_is_waited_for_by_who_asks(machine: Deployment) -> None:
    late = port(attach="nic")
    with running(machine) as (_, client):
        with pytest.raises(Retry, match=late.mac):
            client.put_instance(spec(late))
        assert client.instances().instances == ()


def test_the_interface_the_agent_is_reached_by_is_never_given_away(machine: Deployment, nic: PortAttachment) -> None:
    """A tenant may choose a MAC address."""
    ip("link", "set", "eth7", "up")
    with running(machine) as (_, client), pytest.raises(Retry, match=nic.mac):
        client.put_instance(spec(nic))
    assert links.find("eth7") is not None


def test_an_interface_that_carries_a_port_has_its_mac_address_inside_and_its_own_again_outside(
    machine: Deployment, nic: PortAttachment
) -> None:
    """A cloud gave it another than the port's: what the port's network hears must be the port's."""
    carried = replace(nic, mac="fa:16:3e:aa:bb:cc", nic=nic.mac)
    instance = spec(carried)
    with running(machine) as (_, client):
        client.put_instance(instance)
        name = f"astara-{instance.id}"
        assert carried.mac in inside(name, "ip", "link", "show", links.inner_name(carried.port_id))
        client.configure(instance.id, router_document(instance))
        assert client.state(instance.id).health is Health.HEALTHY
        for again in ("given back", "taken once more"):
            client.detach(instance.id, carried.port_id, NOW)
            assert carried.mac not in inside(name, "ip", "link"), again
            assert nic.mac in ip("link"), again
            client.attach(instance.id, carried, NOW)
        assert carried.mac in inside(name, "ip", "link")


def test_an_interface_is_never_taken_for_the_mac_address_a_port_wishes_for(
    machine: Deployment, nic: PortAttachment
) -> None:
    """A tenant chooses a port's address: were it looked for, it could be that of another port's carrier."""
    stolen = replace(port(attach="nic"), mac=nic.mac, nic="fa:16:3e:dd:ee:ff")
    with running(machine) as (_, client), pytest.raises(Retry, match="fa:16:3e:dd:ee:ff"):
        client.put_instance(spec(stolen))


def test_a_credential_an_agent_cannot_serve_with_is_refused_and_the_one_it_has_stays(machine: Deployment) -> None:
    made = issue(machine.authority, "again", node_role(NODE), ["127.0.0.1"], datetime.datetime.now(datetime.UTC), 300)
    texts = (made.ca_file.read_text(), made.cert_file.read_text(), machine.options.key_file.read_text())
    with running(machine) as (_, client):
        before = client.sight().certificate_expires_at
        with pytest.raises(Terminal, match=r"\$\.credential"):
            client.put_instance(replace(spec(), credential=Credential(*texts)))
        assert client.sight().certificate_expires_at == before


def test_there_is_room_for_one_instance_and_no_kind_of_a_node(machine: Deployment, nic: PortAttachment) -> None:
    with running(machine) as (_, client):
        view = client.node()
        assert (view.attach_kinds, view.image) == (("nic",), "d1635")
        client.put_instance(spec(nic))
        with pytest.raises(Terminal, match=r"\$\.id"):
            client.put_instance(spec())
        assert len(client.instances().instances) == 1


def test_not_even_the_orchestrator_may_ask(machine: Deployment) -> None:
    orchestrator = Deployment.at(machine.authority.directory.parent).orchestrator
    with running(machine) as (agent, _):
        client = machine.client(agent.server.port, orchestrator)
        with pytest.raises(Retry, match="may not ask"):
            client.node()
        client.close()


def test_in_a_machine_another_credential_is_taken_without_a_restart(machine: Deployment, nic: PortAttachment) -> None:
    instance = spec(nic)
    now = datetime.datetime.now(datetime.UTC)
    other = issue(machine.authority, "renewed", node_role(NODE), ["127.0.0.1"], now, days=60)
    texts = (other.ca_file.read_text(), other.cert_file.read_text(), other.key_file.read_text())
    with running(machine) as (_, client):
        client.put_instance(instance)
        before = client.sight().certificate_expires_at
        client.put_instance(replace(instance, credential=Credential(*texts)))
        after = client.sight().certificate_expires_at
        assert before is not None
        assert after == pytest.approx(before - 305 * 86400, abs=60)
    kept = [path for path in machine.options.state_dir.rglob("*") if path.is_file() and b"PRIVATE" in path.read_bytes()]
    assert kept == []


# In the instance's own namespace


@pytest.fixture
def pod() -> Iterator[str]:
    """A namespace somebody made for a container."""
    name = f"pod{uuid.uuid4().hex[:8]}"
    ip("netns", "add", name)
    ip("-n", name, "link", "set", "lo", "up")
    yield name
    ip("netns", "del", name)


def seen(agent: AgentProcess) -> tuple[Health, int]:
    (view,) = agent.client.instances().instances
    return view.state.health, view.state.repairs


def test_a_solitary_agent_configures_and_heals_the_namespace_it_is_in(tmp_path: Path, pod: str) -> None:
    made = solitary(tmp_path, Solitary.NAMESPACE)
    one = port(attach="nic")
    ip("link", "add", "far1", "type", "veth", "peer", "name", "x0", "address", one.mac, "netns", pod)
    instance = spec(one)
    agent = AgentProcess(made, tmp_path, port=19872)
    with entered(Path("/run/netns") / pod):
        agent.start()
        try:
            agent.client.put_instance(instance)
            agent.client.configure(instance.id, router_document(instance))
            assert "10.0.0.1/24" in inside(pod, "ip", "addr")
            assert namespaces.ids_present() == set()

            inside(pod, "nft", "flush", "ruleset")
            assert eventually(lambda: "table inet astara" in inside(pod, "nft", "list", "tables"), within_s=5.0)
            assert eventually(lambda: seen(agent) == (Health.HEALTHY, 1))
        finally:
            agent.stop()
            agent.client.close()
