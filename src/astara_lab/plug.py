"""Plugging simulated machines into a network's layer 2, the way a hypervisor would."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Protocol

from astara_lab.machine import INTERFACE
from astara_lab.namespaces import NETNS_DIRECTORY
from astara_lab.places import OVSDB_SOCKET

#: Host end of a machine's link; `av` is what the node agent's are called.
LINK_PREFIX = "ah"
_NAME_PART = 11
_ATTEMPTS = 5


class PlugError(LookupError):
    """The kernel or Open vSwitch refused; the message says what."""


@dataclass(frozen=True)
class Outlet:
    """What is plugged: `identifier` is the port id; `mac` None leaves the address to the kernel."""

    identifier: str
    network_id: str
    netns: str
    mtu: int
    mac: str | None = None

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
                _ip("link", "set", outlet.link, "master", self._bridge(outlet.network_id), "up")
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

    def unplug(self, outlet: Outlet) -> None:
        from astara.host import links
        from astara.host.attach.bridge import bridge_name

        _remove(outlet)
        bridge = links.find(bridge_name(outlet.network_id))
        if bridge is not None and bridge.ours and not links.members(bridge.index):
            links.remove(bridge.name)


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
