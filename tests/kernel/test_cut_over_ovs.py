"""A cut-over on Open vSwitch: the other link is wired as the one before was, and nobody waits for the agent."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from astara.clients.appliance import NodeClient
from astara.contract.agent import InstanceSpec
from astara.contract.generation import Generation
from astara.host import links
from astara.host.options import OvsOptions
from support.live_traffic import experienced, reaches
from support.node_agent import Deployment, isolated, mac, port, router_document, running, spec
from support.open_vswitch import Switch
from support.segment import Machine, ip

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
    pytest.mark.skipif(shutil.which("ovs-vswitchd") is None, reason="needs openvswitch-switch"),
]
NEXT = Generation(1, 2)
INSIDE, OUTSIDE = "10.0.0.1", "192.0.2.1"
VLANS = (7, 8)


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[Switch]:
    """As neutron-openvswitch-agent has it: `secure`, and a flow that forwards. Nobody gives VLANs but this test."""
    made = Switch(tmp_path / "vs")
    made.start()
    made.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev", "fail_mode=secure")
    made.ofctl("add-flow", "br-int", "actions=normal")
    yield made
    made.stop()


@pytest.fixture
def deployment(switch: Switch, tmp_path: Path) -> Deployment:
    return Deployment.at(tmp_path, ovs=OvsOptions(ovsdb=switch.remote))


def pair() -> tuple[InstanceSpec, InstanceSpec]:
    old = spec(port(attach="ovs"), port(attach="ovs"))
    return old, replace(old, id=str(uuid.uuid4()), standby=True)


def configured(client: NodeClient, instance: InstanceSpec) -> None:
    client.put_instance(instance)
    client.configure(instance.id, router_document(instance, inside=f"{INSIDE}/24", outside=f"{OUTSIDE}/24"))


def wired(switch: Switch, instance: InstanceSpec) -> None:
    """Do what the layer-2 agent does with a port it finds."""
    for one, vlan in zip(instance.ports, VLANS, strict=True):
        name = links.host_name(one.port_id)
        switch.vsctl("clear", "Port", name, "trunks", "--", "remove", "Port", name, "vlan_mode", "trunk")
        switch.vsctl("set", "Port", name, f"tag={vlan}", f"other_config:segmentation_id={100 + vlan}")


@contextlib.contextmanager
def machine(switch: Switch, vlan: int, address: str, gateway: str | None) -> Iterator[Machine]:
    name, outer = f"m-{vlan}", f"m{vlan}"
    ip("netns", "add", name)
    made = Machine(name, mac())
    try:
        ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", outer, "up")
        switch.vsctl("add-port", "br-int", outer, f"tag={vlan}")
        made.run("ip", "link", "set", "lo", "up")
        made.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        made.run("ip", "link", "set", "eth0", "up")
        made.run("ethtool", "-K", "eth0", "tx", "off")  # the userspace datapath makes no checksums
        if gateway:
            made.run("ip", "route", "add", "default", "via", gateway)
        yield made
    finally:
        ip("netns", "del", name)


def wiring(switch: Switch, instance: InstanceSpec) -> list[str]:
    """VLAN, how it came to it, and the number of the OpenFlow port, of each."""
    names = [links.host_name(one.port_id) for one in instance.ports]
    return [
        switch.vsctl("get", "Port", name, "tag", "vlan_mode", "trunks", "other_config")
        + switch.vsctl("get", "Interface", name, "ofport", "external_ids:iface-id")
        for name in names
    ]


def test_a_cut_over_costs_no_connection_and_waits_for_no_layer_2_agent(switch: Switch, deployment: Deployment) -> None:
    old, new = pair()
    with running(deployment) as (_, client), contextlib.ExitStack() as cleaning:
        configured(client, old)
        wired(switch, old)
        configured(client, new)
        inside = cleaning.enter_context(machine(switch, VLANS[0], "10.0.0.2", INSIDE))
        outside = cleaning.enter_context(machine(switch, VLANS[1], "192.0.2.2", None))
        assert reaches(inside)
        before = wiring(switch, old)

        def cut_over() -> None:
            client.cut_over(new.id, NEXT)
            client.delete_instance(old.id, NEXT)

        found = experienced(inside, outside, cut_over)
        print(f"cut-over: {found}")
        assert wiring(switch, new) == before
        client.delete_instance(new.id, Generation(9, 0))
        assert switch.ports() == {f"m{vlan}" for vlan in VLANS}


def test_a_cut_over_may_be_repeated_and_taken_back(switch: Switch, deployment: Deployment) -> None:
    old, new = pair()
    with running(deployment) as (_, client), contextlib.ExitStack() as cleaning:
        configured(client, old)
        wired(switch, old)
        configured(client, new)
        inside = cleaning.enter_context(machine(switch, VLANS[0], "10.0.0.2", INSIDE))
        cleaning.enter_context(machine(switch, VLANS[1], "192.0.2.2", None))
        for taker in (new, new, old, new):
            client.cut_over(taker.id, NEXT)
            assert reaches(inside)
        for one in (old, new):
            client.delete_instance(one.id, Generation(9, 0))


def test_a_port_that_was_not_wired_yet_hears_nobody_afterwards_either(switch: Switch, deployment: Deployment) -> None:
    """Its tag is the dead VLAN's: taken over as it is, it is still no trunk of every tenant's network."""
    old, new = pair()
    with running(deployment) as (_, client):
        configured(client, old)
        configured(client, new)
        before = wiring(switch, old)
        client.cut_over(new.id, NEXT)
        assert wiring(switch, new) == before
        assert all(one.startswith("4095") for one in before)
        for one in (old, new):
            client.delete_instance(one.id, Generation(9, 0))
