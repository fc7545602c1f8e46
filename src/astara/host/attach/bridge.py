"""Layer 2 by Linux bridges: one per Neutron network, without an address, made on the first plug.

Recognised by the alias `astara:<network id>`; a bridge of that name made by somebody else is used and never removed.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from pathlib import Path

import structlog

from astara.appliance.system import rtnetlink
from astara.appliance.system.netlink import Netlink, NetlinkError
from astara.appliance.system.nft import Nft, NftError
from astara.contract.agent import PortAttachment
from astara.host import links, vxlan
from astara.host.attach.boundary import AttachRefused
from astara.host.links import Link, LinkError
from astara.host.options import NodeOptions

_log = structlog.get_logger(__name__)
PREFIX = "abr"
_NAME_PART = 11
#: Ports a Linux bridge can take (BR_MAX_PORTS, include/linux/if_bridge.h), and when to warn.
_MAX_PORTS = 1023
_WARN_PORTS = _MAX_PORTS * 7 // 10
_VLAN_PREFIX = "avl"
_VXLAN_PREFIX = "avx"

# What arrives on a tenant's link for the node itself, or to be routed by it, ends here. Frames bridged from port to
# port pass (with br_netfilter they show up in `forward` with the same bridge on both sides).
_GUARD_RULES = (
    'iifname { "abr*", "av*" } counter name "refused" drop',
    'iifname "abr*" oifname != "abr*" counter name "refused" drop',
    'iifname "av*" oifname != { "abr*", "av*" } counter name "refused" drop',
)
_GUARD = f"""
table inet astara {{
  counter refused {{ }}
  chain node_input {{ type filter hook input priority raw; policy accept; }}
  chain node_forward {{ type filter hook forward priority raw; policy accept; }}
}}
flush chain inet astara node_input
flush chain inet astara node_forward
add rule inet astara node_input {_GUARD_RULES[0]}
add rule inet astara node_forward {_GUARD_RULES[1]}
add rule inet astara node_forward {_GUARD_RULES[2]}
"""


def bridge_name(network_id: str) -> str:
    return PREFIX + network_id[:_NAME_PART]


class BridgeAttachment:
    """Kind `bridge`. Flat and VLAN networks reach the physical network through the mapped device.

    VXLAN networks reach the bridges of other nodes where this node has an address for that.
    """

    kind = "bridge"

    def __init__(self, options: NodeOptions) -> None:
        self._mappings = dict(options.bridge.mappings)
        self._tunnel_address, self._tunnel_peers = options.bridge.tunnel_address, options.bridge.tunnel_peers
        self._mutex = threading.Lock()
        self._turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._ports: dict[str, set[str]] = defaultdict(set)  # bridge -> ports of ours on it

    def prepare(self) -> None:
        """Close the node towards tenants' links, and count what is plugged already."""
        guard_node()
        for port_id, bridge in self._bulk().items():
            self._ports[bridge].add(port_id)

    def tend(self) -> None:
        """Close the node again if somebody opened it."""
        try:
            if not guarded():
                guard_node()
                _log.warning("guard.mended")
        except (LinkError, NftError) as error:
            _log.error("guard.not_mended", reason=str(error))

    def plug(self, port: PortAttachment, host_link: Link, inside: Path) -> None:
        name = bridge_name(port.network_id)
        with self._turn(name):
            bridge = links.find(name) or self._make(name, port)
            self._uplink(bridge, port)
            if host_link.master != bridge.index or not host_link.up or host_link.owner != port.port_id:
                self._enslave(bridge, port, host_link)
            self._ports[name].add(port.port_id)
            if len(self._ports[name]) == _WARN_PORTS:
                _log.warning("bridge.filling", bridge=name, ports=_WARN_PORTS, limit=_MAX_PORTS)

    def join(self, port: PortAttachment, link: Link) -> None:
        """What the bridge has learnt leads to the old link until that leaves."""
        with self._turn(name := bridge_name(port.network_id)):
            bridge = links.find(name)
            if bridge is None:
                raise LinkError(f"{name}: is gone")
            self._enslave(bridge, port, link)

    def unplug(self, port: PortAttachment) -> None:
        name = bridge_name(port.network_id)
        with self._turn(name):
            self._ports[name].discard(port.port_id)
            if not self._ports[name]:
                self._remove_if_idle(name, leaving=links.host_name(port.port_id))

    def in_place(self, port: PortAttachment) -> bool:
        link = links.find(links.host_name(port.port_id))
        if link is None or not link.up or link.master is None or link.owner != port.port_id:
            return False
        bridge = links.find(bridge_name(port.network_id))
        return bridge is not None and bridge.up and bridge.index == link.master

    def _bulk(self) -> dict[str, str]:
        """Return port id -> bridge name for every link of ours that is on a bridge."""
        every = links.every()
        names = {link.index: link.name for link in every if link.kind == "bridge"}
        return {
            link.owner: names[link.master]
            for link in every
            if link.kind == "veth" and link.ours and link.master is not None and link.master in names
        }

    def _turn(self, name: str) -> threading.Lock:
        with self._mutex:
            return self._turns[name]

    def _make(self, name: str, port: PortAttachment) -> Link:
        links.create_bridge(name)
        links.quieten(name)
        bridge = links.find(name)
        if bridge is None:
            raise LinkError(f"{name}: vanished while it was made")
        links.set_up(bridge, port.network_id)
        return bridge

    def _enslave(self, bridge: Link, port: PortAttachment, host_link: Link) -> None:
        try:
            links.set_up(host_link, port.port_id, master=bridge.index)
        except NetlinkError:
            raise AttachRefused(
                "network_id",
                f"bridge {bridge.name} is full: a Linux bridge takes {_MAX_PORTS} ports",
                "serve this network from another node, or use the ovs attachment",
            ) from None

    def _uplink(self, bridge: Link, port: PortAttachment) -> None:
        """Connect the bridge to the physical network, or to other nodes, when Neutron says the network has that."""
        if port.network_type == "vxlan" and self._tunnel_address is not None:
            self._tunnel(bridge, port)
        if port.physical_network is None or port.network_type not in ("flat", "vlan") or not self._mappings:
            return
        device = links.find(self._mapped(port.physical_network))
        if device is None:
            raise AttachRefused(
                "physical_network",
                f"device {self._mappings[port.physical_network]} does not exist on this node",
                "correct [bridge] mappings in node.conf",
            )
        uplink = device if port.network_type == "flat" else self._vlan(device, port)
        if uplink.master == bridge.index:
            return
        if uplink.master is not None or _has_addresses(uplink):
            raise AttachRefused(
                "physical_network",
                f"device {uplink.name} is in use: it has addresses or belongs to another bridge",
                "give [bridge] mappings a device of its own",
            )
        links.set_up(uplink, port.network_id, master=bridge.index)

    def _tunnel(self, bridge: Link, port: PortAttachment) -> None:
        vni, local = port.segmentation_id, self._tunnel_address
        if vni is None or vni not in vxlan.VNIS or local is None:
            raise AttachRefused("segmentation_id", "missing for a vxlan network", "send the provider attributes")
        name = f"{_VXLAN_PREFIX}{vni}"
        device = links.find(name)
        if device is not None and device.master == bridge.index and device.up:
            return
        vxlan.create(name, vni, port.mtu, local)
        device = links.find(name)
        if device is None:
            raise LinkError(f"{name}: vanished while it was made")
        links.quieten(name)
        vxlan.flood_to(name, device.index, self._tunnel_peers)
        links.set_up(device, port.network_id, master=bridge.index)

    def _mapped(self, physical_network: str) -> str:
        device = self._mappings.get(physical_network)
        if device is None:
            raise AttachRefused(
                "physical_network",
                "this node does not reach that physical network",
                "add it to [bridge] mappings in node.conf as PHYSNET:DEVICE",
            )
        return device

    def _vlan(self, device: Link, port: PortAttachment) -> Link:
        name = f"{_VLAN_PREFIX}{device.index}.{port.segmentation_id}"
        found = links.find(name)
        if found is not None:
            return found
        if port.segmentation_id is None:
            raise AttachRefused("segmentation_id", "missing for a vlan network", "send the provider attributes")
        try:
            links.create_vlan(name, device.index, port.segmentation_id)
        except NetlinkError:
            raise AttachRefused(
                "network_type",
                "this node's kernel has no VLAN devices (8021q)",
                "load the module 8021q, or use the ovs attachment for vlan networks",
            ) from None
        made = links.find(name)
        if made is None:
            raise LinkError(f"{name}: vanished while it was made")
        links.quieten(name)
        return made

    def _remove_if_idle(self, name: str, leaving: str) -> None:
        bridge = links.find(name)
        if bridge is None or not bridge.ours:
            return
        members = [link for link in links.members(bridge.index) if link.name != leaving]
        uplinks = [link for link in members if self._is_uplink(link)]
        if len(members) > len(uplinks):
            return
        links.remove(name)
        for uplink in uplinks:
            if uplink.kind in ("vlan", "vxlan"):
                links.remove(uplink.name)

    def _is_uplink(self, link: Link) -> bool:
        made = {"vlan": _VLAN_PREFIX, "vxlan": _VXLAN_PREFIX}.get(link.kind)
        return link.name in self._mappings.values() or (made is not None and link.name.startswith(made))


def guard_node() -> None:
    """Let nothing from tenants' links reach the node itself; raises LinkError when nftables refuses."""
    try:
        with Nft() as nft:
            nft.run(_GUARD)
    except NftError as error:
        raise LinkError(f"cannot close the node towards tenants: {error}") from error


def guarded() -> bool:
    """Whether the node is closed towards tenants' links."""
    with Nft() as nft:
        found = nft.run("list table inet astara") if "table inet astara" in nft.run("list tables") else ""
    return all(line.strip() in found for line in _GUARD_RULES)


def _has_addresses(link: Link) -> bool:
    with Netlink() as kernel:
        found = rtnetlink.addresses(kernel)
    return any(address.index == link.index and not address.interface.ip.is_link_local for address in found)
