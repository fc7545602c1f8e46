"""The bridge attachment: one bridge per network, uplinks to physical networks, nothing foreign touched."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from msgspec import structs

from astara.contract.agent import PortAttachment
from astara.host import links, namespaces
from astara.host.attach.boundary import AttachRefused
from astara.host.attach.bridge import BridgeAttachment, bridge_name
from astara.host.options import BridgeOptions, NodeOptions
from support.node_agent import isolated, port
from support.segment import Machine, eventually, ip

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]


@pytest.fixture
def inside() -> Iterator[Path]:
    instance = str(uuid.uuid4())
    namespaces.prepare_directory()
    namespaces.ensure(instance)
    yield namespaces.path_of(instance)
    namespaces.remove(instance)


@pytest.fixture
def physical() -> Iterator[str]:
    """Stands for a network card."""
    ip("link", "add", "apnic0", "type", "veth", "peer", "name", "apwire0")
    yield "apnic0"
    subprocess.run(["ip", "link", "del", "apnic0"], check=False, capture_output=True)


def attachment(*mappings: tuple[str, str]) -> BridgeAttachment:
    nowhere = Path("/nonexistent")
    options = NodeOptions("n", nowhere, "", 0, nowhere, nowhere, nowhere, bridge=BridgeOptions(mappings))
    made = BridgeAttachment(options)
    made.prepare()
    return made


def plugged(bridges: BridgeAttachment, one: PortAttachment, inside: Path) -> None:
    bridges.plug(one, links.create_pair(one, inside), inside)


def unplugged(bridges: BridgeAttachment, one: PortAttachment) -> None:
    bridges.unplug(one)
    links.remove(links.host_name(one.port_id))


def test_a_bridge_has_no_address_no_spanning_tree_and_no_snooping(inside: Path) -> None:
    bridges, one = attachment(), port(mtu=1400)
    plugged(bridges, one, inside)
    name = bridge_name(one.network_id)
    shown = ip("-d", "link", "show", name)
    assert "stp_state 0" in shown
    assert "mcast_snooping 0" in shown
    assert "mtu 1400" in shown
    assert ip("-o", "addr", "show", name) == ""
    unplugged(bridges, one)


def test_plugging_twice_changes_nothing(inside: Path) -> None:
    bridges, one = attachment(), port()
    plugged(bridges, one, inside)
    before = links.every()
    bridges.plug(one, links.find(links.host_name(one.port_id)), inside)  # type: ignore[arg-type]
    assert links.every() == before
    unplugged(bridges, one)
    unplugged(bridges, one)
    assert links.find(bridge_name(one.network_id)) is None


def test_a_restarted_agent_knows_which_ports_keep_a_bridge(inside: Path) -> None:
    first, second = port(), port()
    second = port(first.network_id)
    before = attachment()
    for one in (first, second):
        plugged(before, one, inside)
    after = attachment()
    unplugged(after, first)
    assert links.find(bridge_name(first.network_id)) is not None
    unplugged(after, second)
    assert links.find(bridge_name(first.network_id)) is None


def test_a_bridge_somebody_else_plugs_into_stays(inside: Path) -> None:
    bridges, one = attachment(), port()
    plugged(bridges, one, inside)
    name = bridge_name(one.network_id)
    ip("link", "add", "apguest", "type", "veth", "peer", "name", "apguest1")
    ip("link", "set", "apguest", "master", name)
    unplugged(bridges, one)
    assert links.find(name) is not None
    ip("link", "del", "apguest")
    ip("link", "del", name)


def test_a_bridge_somebody_else_made_is_used_and_never_removed(inside: Path) -> None:
    bridges, one = attachment(), port()
    name = bridge_name(one.network_id)
    ip("link", "add", name, "type", "bridge")
    ip("link", "set", name, "up")
    plugged(bridges, one, inside)
    assert bridges.in_place(one)
    unplugged(bridges, one)
    assert links.find(name) is not None
    ip("link", "del", name)


def test_a_flat_network_is_connected_to_its_device_and_released_afterwards(inside: Path, physical: str) -> None:
    bridges = attachment(("public", physical))
    one = port(network_type="flat", physical_network="public")
    plugged(bridges, one, inside)
    bridge, device = links.find(bridge_name(one.network_id)), links.find(physical)
    assert bridge is not None
    assert device is not None
    assert device.master == bridge.index
    unplugged(bridges, one)
    released = links.find(physical)
    assert released is not None
    assert released.master is None
    assert links.find(bridge.name) is None


def test_a_device_that_carries_the_nodes_own_address_is_not_taken(inside: Path, physical: str) -> None:
    ip("addr", "add", "192.0.2.1/24", "dev", physical)
    bridges = attachment(("public", physical))
    one = port(network_type="flat", physical_network="public")
    with pytest.raises(AttachRefused, match="in use") as raised:
        plugged(bridges, one, inside)
    assert raised.value.field == "physical_network"
    unplugged(bridges, one)


def test_a_physical_network_this_node_does_not_reach_is_refused(inside: Path, physical: str) -> None:
    bridges = attachment(("public", physical))
    one = port(network_type="flat", physical_network="elsewhere")
    with pytest.raises(AttachRefused, match="does not reach") as raised:
        plugged(bridges, one, inside)
    assert "mappings" in raised.value.remedy
    unplugged(bridges, one)


def test_a_vlan_is_served_or_the_kernels_lack_of_it_is_told(inside: Path, physical: str) -> None:
    bridges = attachment(("public", physical))
    one = port(network_type="vlan", physical_network="public", segmentation_id=7)
    if _kernel_has_vlans(physical):
        plugged(bridges, one, inside)
        assert "vlan protocol 802.1Q id 7" in ip("-d", "link")
    else:
        with pytest.raises(AttachRefused, match="8021q") as raised:
            plugged(bridges, one, inside)
        assert raised.value.remedy
    unplugged(bridges, one)
    assert "802.1Q" not in ip("-d", "link")


def test_a_full_bridge_is_refused_with_the_reason(inside: Path) -> None:
    """Silent capacity cliff: a Linux bridge takes 1023 ports."""
    bridges, one = attachment(), port()
    name = bridge_name(one.network_id)
    _fill(name)
    with pytest.raises(AttachRefused, match="1023"):
        plugged(bridges, one, inside)
    unplugged(bridges, one)
    _empty()
    ip("link", "del", name)


def _kernel_has_vlans(device: str) -> bool:
    made = subprocess.run(["ip", "link", "add", "apvlan", "link", device, "type", "vlan", "id", "9"], check=False)
    subprocess.run(["ip", "link", "del", "apvlan"], check=False)
    return made.returncode == 0


def _fill(bridge: str) -> None:
    pairs = "".join(f"link add axf{n} master {bridge} type veth peer name axg{n}\n" for n in range(512))
    masters = "".join(f"link set axg{n} master {bridge}\n" for n in range(511))
    script = f"link add {bridge} type bridge mcast_snooping 0\n{pairs}{masters}"
    done = subprocess.run(["ip", "-batch", "-"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def _empty() -> None:
    script = (
        "".join(f"link set axf{n} group 77\nlink set axg{n} group 77\n" for n in range(512)) + "link del group 77\n"
    )
    subprocess.run(["ip", "-batch", "-"], input=script, text=True, check=True)


def test_a_vxlan_network_spans_nodes(inside: Path) -> None:
    """Two nodes: this namespace and another; what is plugged here hears what floods in from there."""
    ip("netns", "add", "astara-far")
    try:
        ip("link", "add", "apnear0", "type", "veth", "peer", "name", "apfar0", "netns", "astara-far")
        ip("addr", "add", "198.18.0.1/30", "dev", "apnear0")
        ip("link", "set", "apnear0", "up")
        far = "-n", "astara-far"
        ip(*far, "addr", "add", "198.18.0.2/30", "dev", "apfar0")
        ip(*far, "link", "set", "apfar0", "up")
        vxlan = ("type", "vxlan", "id", "77", "local", "198.18.0.2", "remote", "198.18.0.1", "dstport", "4789")
        ip(*far, "link", "add", "name", "avx77", *vxlan)
        ip(*far, "addr", "add", "10.9.9.2/24", "dev", "avx77")
        ip(*far, "link", "set", "avx77", "up")
        nowhere = Path("/nonexistent")
        spanning = BridgeOptions((), IPv4Address("198.18.0.1"), (IPv4Address("198.18.0.2"),))
        bridges = BridgeAttachment(NodeOptions("n", nowhere, "", 0, nowhere, nowhere, nowhere, bridge=spanning))
        bridges.prepare()
        one = structs.replace(port(mtu=1400), network_type="vxlan", segmentation_id=77)
        plugged(bridges, one, inside)
        link = links.inner_name(one.port_id)
        own = "-n", inside.name
        ip(*own, "addr", "add", "10.9.9.1/24", "dev", link)
        ip(*own, "link", "set", link, "up")

        assert eventually(lambda: " 0% packet loss" in Machine(inside.name, "").run("ping", "-c1", "-W1", "10.9.9.2"))

        unplugged(bridges, one)
        assert links.find("avx77") is None
    finally:
        ip("netns", "del", "astara-far")


def test_a_vxlan_network_without_its_number_is_refused(inside: Path) -> None:
    nowhere = Path("/nonexistent")
    spanning = BridgeOptions((), IPv4Address("198.18.0.1"))
    bridges = BridgeAttachment(NodeOptions("n", nowhere, "", 0, nowhere, nowhere, nowhere, bridge=spanning))
    one = structs.replace(port(), network_type="vxlan")
    with pytest.raises(AttachRefused, match="vxlan"):
        plugged(bridges, one, inside)
    links.remove(links.host_name(one.port_id))
    links.remove(bridge_name(one.network_id))
