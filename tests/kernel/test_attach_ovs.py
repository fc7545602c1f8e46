"""The ovs attachment against a real Open vSwitch with the userspace datapath."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from astara.appliance.system import netns
from astara.contract.agent import InstanceSpec
from astara.contract.generation import Generation
from astara.host import links, namespaces
from astara.host.options import OvsOptions
from astara.model.errors import Terminal
from support.node_agent import Deployment, isolated, port, running, spec
from support.open_vswitch import Switch
from support.segment import eventually, ip

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
    pytest.mark.skipif(shutil.which("ovs-vswitchd") is None, reason="needs openvswitch-switch"),
]
NOW = Generation(1, 1)


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Switch]:
    made = Switch(tmp_path_factory.mktemp("o") / "vs")
    made.start()
    made.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def deployment(switch: Switch, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment.at(tmp_path_factory.mktemp("agent"), ovs=OvsOptions(ovsdb=switch.remote))


def plugged() -> InstanceSpec:
    return spec(port(attach="ovs"))


def uses_the_present_link(switch: Switch, instance: InstanceSpec) -> bool:
    """The number of the OpenFlow port may be an earlier one's; the device behind it may not."""
    name = links.host_name(instance.ports[0].port_id)
    if links.find(name) is None or name not in switch.ports():
        return False
    index = f'"{_index(name)}"'
    return index in external_ids(switch, instance) and switch.vsctl("get", "Interface", name, "ifindex") == index[1:-1]


def external_ids(switch: Switch, instance: InstanceSpec) -> str:
    return switch.vsctl("get", "Interface", links.host_name(instance.ports[0].port_id), "external_ids")


def test_a_port_carries_what_layer_2_agents_look_for(switch: Switch, deployment: Deployment) -> None:
    instance = plugged()
    with running(deployment) as (_, client):
        client.put_instance(instance)
        found = external_ids(switch, instance)
        client.delete_instance(instance.id, NOW)
    assert f'iface-id="{instance.ports[0].port_id}"' in found
    assert f'attached-mac="{instance.ports[0].mac}"' in found
    assert "iface-status=active" in found
    assert links.host_name(instance.ports[0].port_id) not in switch.ports()


def test_tcp_passes_through_the_userspace_datapath(switch: Switch, deployment: Deployment) -> None:
    """Which makes no checksums: without our turning the offload off, every segment would be dropped."""
    network = port().network_id
    instances = [spec(port(network, attach="ovs")) for _ in range(2)]
    with running(deployment) as (_, client):
        for number, instance in enumerate(instances, start=1):
            client.put_instance(instance)
            name, inner = f"astara-{instance.id}", links.inner_name(instance.ports[0].port_id)
            ip("-n", name, "addr", "add", f"10.0.0.{number}/24", "dev", inner)
            ip("-n", name, "link", "set", inner, "up")
        first, second = (namespaces.path_of(instance.id) for instance in instances)
        answer = _tcp_round_trip(first, second, "10.0.0.2")
        for instance in instances:
            client.delete_instance(instance.id, NOW)
    assert answer == b"passed"


@pytest.mark.parametrize(
    ("settings", "tag"),
    [
        (("set", "bridge", "br-int", "fail_mode=secure"), "4095"),
        (("set", "Open_vSwitch", ".", "external_ids:ovn-remote=unix:none"), "[]"),
    ],
    ids=["the Neutron agent's", "ovn-controller's"],
)
def test_a_port_hears_no_vlan_until_the_agent_gives_it_one(
    switch: Switch, deployment: Deployment, settings: tuple[str, ...], tag: str
) -> None:
    """A port without a tag is a trunk: it would hear every tenant. On OVN nobody would ever give it one."""
    switch.vsctl("set", "bridge", "br-int", "fail_mode=secure", "--", *settings)
    instance = plugged()
    try:
        with running(deployment) as (_, client):
            client.put_instance(instance)
            found = switch.vsctl("get", "Port", links.host_name(instance.ports[0].port_id), "tag", "trunks")
            client.delete_instance(instance.id, NOW)
    finally:
        switch.vsctl("clear", "bridge", "br-int", "fail_mode", "--", "clear", "Open_vSwitch", ".", "external_ids")
    assert found.split() == [tag, f"[{tag.strip('[]')}]"]


def test_a_port_taken_off_the_bridge_by_somebody_is_put_back(switch: Switch, deployment: Deployment) -> None:
    instance = plugged()
    name = links.host_name(instance.ports[0].port_id)
    with running(deployment) as (agent, client):
        client.put_instance(instance)
        switch.vsctl("del-port", "br-int", name)
        agent.healer.suspect(instance.id)
        assert eventually(lambda: name in switch.ports())
        client.delete_instance(instance.id, NOW)


def test_what_ovn_controller_notes_at_a_port_is_no_damage(switch: Switch, deployment: Deployment) -> None:
    """It notes each time it gets a port; were that mended, the next hint about the instance would be put off."""
    instance = plugged()
    name = links.host_name(instance.ports[0].port_id)
    with running(deployment) as (agent, client):
        client.put_instance(instance)
        switch.vsctl("set", "Interface", name, "external_ids:ovn-installed=true", "external_ids:attached-mac=other")
        agent.healer.suspect(instance.id)
        assert eventually(lambda: f'attached-mac="{instance.ports[0].mac}"' in external_ids(switch, instance))
        assert 'ovn-installed="true"' in external_ids(switch, instance)
        mended = client.instances().instances[0].state.repairs

        switch.vsctl("set", "Interface", name, "external_ids:ovn-installed=false")
        assert not agent.node.get(instance.id).verify()

        assert client.instances().instances[0].state.repairs == mended == 1
        client.delete_instance(instance.id, NOW)


def test_a_link_that_was_deleted_is_connected_anew(switch: Switch, deployment: Deployment) -> None:
    instance = plugged()
    name = links.host_name(instance.ports[0].port_id)
    with running(deployment) as (_, client):
        client.put_instance(instance)
        ip("link", "del", name)
        assert eventually(lambda: uses_the_present_link(switch, instance))
        client.delete_instance(instance.id, NOW)


def test_a_slow_switch_lets_go_of_a_deleted_link_before_it_gets_the_new_one(
    switch: Switch, deployment: Deployment
) -> None:
    """Seeing both at once it would keep its socket on a device that is no more: a port that is plugged and deaf."""
    instance = plugged()
    name = links.host_name(instance.ports[0].port_id)
    with running(deployment) as (_, client):
        client.put_instance(instance)
        with switch.frozen():
            ip("link", "del", name)
            assert eventually(lambda: links.find(name) is not None and name not in switch.ports())
        assert eventually(lambda: uses_the_present_link(switch, instance))
        client.delete_instance(instance.id, NOW)


def test_a_restarted_agent_leaves_the_plug_alone(switch: Switch, deployment: Deployment) -> None:
    instance = plugged()
    name = links.host_name(instance.ports[0].port_id)
    with running(deployment) as (_, client):
        client.put_instance(instance)
    before = switch.vsctl("get", "Interface", name, "_uuid", "ofport", "ifindex")
    with running(deployment) as (_, client):
        assert client.instances().instances[0].state.repairs == 0
        assert switch.vsctl("get", "Interface", name, "_uuid", "ofport", "ifindex") == before
        client.delete_instance(instance.id, NOW)


def test_a_missing_bridge_is_named_and_nothing_is_left(switch: Switch, tmp_path: Path) -> None:
    options = OvsOptions(ovsdb=switch.remote, integration_bridge="br-none")
    instance = plugged()
    with running(Deployment.at(tmp_path, ovs=options)) as (_, client):
        with pytest.raises(Terminal, match="br-none"):
            client.put_instance(instance)
        assert client.instances().instances == ()
    assert instance.id not in namespaces.ids_present()
    assert links.find(links.host_name(instance.ports[0].port_id)) is None


def _index(name: str) -> int:
    link = links.find(name)
    return link.index if link is not None else 0


def _tcp_round_trip(client: Path, server: Path, address: str) -> bytes:
    """Return what arrives at `server` when `client` connects and says "passed"."""
    with netns.entered(server):
        listening = socket.create_server((address, 8080))
    listening.settimeout(10)
    with netns.entered(client):
        calling = socket.create_connection((address, 8080), timeout=10)
    with listening, calling, listening.accept()[0] as accepted:
        calling.sendall(b"passed")
        accepted.settimeout(10)
        return accepted.recv(100)
