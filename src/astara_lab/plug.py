"""Plugging simulated machines into a network's layer 2, the way a hypervisor would."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from astara_lab.machine import INTERFACE
from astara_lab.namespaces import NETNS_DIRECTORY
from astara_lab.places import FIRST_NODE_ADDRESS, OVSDB_SOCKET, SECOND_NODE_ADDRESS

#: Host end of a machine's link; `av` is what the node agent's are called.
LINK_PREFIX = "ah"
_NAME_PART = 11
_ATTEMPTS = 5


class PlugError(LookupError):
    """The kernel or Open vSwitch refused; the message says what."""


@dataclass(frozen=True)
class Outlet:
    """What is plugged: `identifier` is the port id; `mac` None leaves the address to the kernel.

    `vni`: the network's VXLAN identifier, `wire`: the device that leads outside, where another node has its part of it.
    """

    identifier: str
    network_id: str
    netns: str
    mtu: int
    mac: str | None = None
    vni: int | None = None
    wire: str | None = None

    @property
    def link(self) -> str:
        return LINK_PREFIX + self.identifier[:_NAME_PART]


class Plug(Protocol):
    def plug(self, outlet: Outlet) -> None:
        """Makes the namespace and its interface, up and connected."""
        ...

    def unplug(self, outlet: Outlet) -> None:
        """Removes both; absence is success."""
        ...


class BridgePlug:
    """Linux bridges, one per network: made with the node agent's own hands, so both make the same bridge."""

    def plug(self, outlet: Outlet) -> None:
        from astara.host import links

        _make_pair(outlet)
        links.quieten(outlet.link)
        for last in (*[False] * (_ATTEMPTS - 1), True):
            try:
                bridge = self._bridge(outlet.network_id)
                _ip("link", "set", outlet.link, "master", bridge, "up")
                self._join(outlet, bridge)
                return
            except (PlugError, links.LinkError):
                # Whoever unplugs a network's last port removes its bridge: the node agent may do so right now.
                if last:
                    raise

    def _bridge(self, network_id: str) -> str:
        """Make sure of a network's bridge and return its name."""
        from astara.host import links
        from astara.host.attach.bridge import bridge_name

        name = bridge_name(network_id)
        if links.find(name) is None:
            links.create_bridge(name)
            links.quieten(name)
            bridge = links.find(name)
            if bridge is None:
                raise PlugError(f"bridge {name} vanished while it was made")
            links.set_up(bridge, network_id)
        return name

    def _join(self, outlet: Outlet, bridge: str) -> None:
        """Have the bridge reach the other node, as its agent does once it plugs something there itself."""
        from astara.host import links, vxlan

        if outlet.wire is not None:
            _ip("link", "set", outlet.wire, "master", bridge, "up")
        device = _tunnel(outlet)
        if outlet.vni is None or device is None or links.find(device) is not None:
            return
        vxlan.create(device, outlet.vni, outlet.mtu, IPv4Address(FIRST_NODE_ADDRESS))
        made = links.find(device)
        if made is None:
            raise PlugError(f"{device} vanished while it was made")
        links.quieten(device)
        vxlan.flood_to(device, made.index, (IPv4Address(SECOND_NODE_ADDRESS),))
        _ip("link", "set", device, "master", bridge, "up")

    def unplug(self, outlet: Outlet) -> None:
        from astara.host import links
        from astara.host.attach.bridge import bridge_name

        _remove(outlet)
        bridge = links.find(bridge_name(outlet.network_id))
        if bridge is None or not bridge.ours:
            return
        tunnel = _tunnel(outlet)
        if {link.name for link in links.members(bridge.index)} <= {tunnel, outlet.wire}:
            links.remove(bridge.name)
            if tunnel is not None and links.find(tunnel) is not None:
                links.remove(tunnel)


def _tunnel(outlet: Outlet) -> str | None:
    """The name the node agent gives to the device."""
    return None if outlet.vni is None else f"avx{outlet.vni}"


@dataclass(frozen=True)
class OvsPlug:
    """Open vSwitch: the port is announced on the integration bridge, its agent or ovn-controller does the rest.

    `bridge` other than br-int plugs into a physical network's bridge, without announcing anything.
    """

    bridge: str = "br-int"

    def plug(self, outlet: Outlet) -> None:
        _make_pair(outlet)
        _ip("link", "set", outlet.link, "up")
        # The userspace datapath does not complete checksums that the kernel left for the network card.
        offload = ["ethtool", "--offload", INTERFACE, "rx", "off", "tx", "off"]
        _do(["ip", "netns", "exec", outlet.netns, *offload])
        announced = []
        if self.bridge == "br-int":
            ids = {"iface-id": outlet.identifier, "attached-mac": outlet.mac or "", "iface-status": "active"}
            words = [f"external_ids:{name}={value}" for name, value in ids.items()]
            announced = ["--", "set", "Interface", outlet.link, *words]
        _vsctl("--may-exist", "add-port", self.bridge, outlet.link, *announced)

    def unplug(self, outlet: Outlet) -> None:
        _vsctl("--if-exists", "del-port", outlet.link)
        _remove(outlet)


def _make_pair(outlet: Outlet) -> None:
    _remove(outlet)
    _do(["ip", "netns", "add", outlet.netns])
    mac = ["address", outlet.mac] if outlet.mac else []
    peer = ["peer", "name", INTERFACE, "netns", outlet.netns, *mac, "mtu", str(outlet.mtu)]
    _ip("link", "add", outlet.link, "mtu", str(outlet.mtu), "type", "veth", *peer)
    _ip("-n", outlet.netns, "link", "set", "lo", "up")


def _remove(outlet: Outlet) -> None:
    subprocess.run(["ip", "link", "delete", outlet.link], capture_output=True, check=False)
    if (NETNS_DIRECTORY / outlet.netns).exists():
        _do(["ip", "netns", "delete", outlet.netns])


def _ip(*words: str) -> None:
    _do(["ip", *words])


def _vsctl(*words: str) -> None:
    _do(["ovs-vsctl", f"--db=unix:{OVSDB_SOCKET}", "--timeout=10", *words])


def _do(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PlugError(f"{' '.join(argv)}: {done.stderr.strip()}")
