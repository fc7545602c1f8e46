"""Kind `nic`, for an agent inside a body: the ports are interfaces the machine has already, found by MAC address.

In a machine of its own the interface is moved from the agent's namespace into the instance's and back. In a container
the agent is in the instance's namespace already, and so are the interfaces: nothing is to be moved.
"""

from __future__ import annotations

from pathlib import Path

from astara.appliance.system import netns, rtnetlink
from astara.appliance.system.netlink import Netlink
from astara.contract.agent import PortAttachment
from astara.host import links
from astara.host.attach.boundary import NotThere


class NicPlug:
    """Takes only interfaces that are down: the one the agent itself is reached by is up, whatever its MAC address."""

    kind = "nic"

    def prepare(self) -> None:
        """Nothing: interfaces come and go by themselves."""

    def tend(self) -> None:
        """Nothing of ours belongs to the whole machine."""

    def plug(self, port: PortAttachment, inside: Path | None, macs: frozenset[str]) -> None:
        if port.mac in macs:
            return
        index = _free(port.mac) if inside is not None else None
        if inside is None or index is None:
            raise NotThere(f"no interface with MAC {port.mac} on this machine")
        links.move(index, inside, links.inner_name(port.port_id))

    def unplug(self, port: PortAttachment, inside: Path | None) -> None:
        """Give the interface back; what was in a namespace that is gone the kernel has given back."""
        if inside is None:
            return
        try:
            with netns.entered(inside):
                index = _index(port.mac)
        except netns.NetnsGone:
            return
        if index is not None:
            links.move_back(index, inside)

    def in_place(self, port: PortAttachment) -> bool:
        return True


def _free(mac: str) -> int | None:
    with Netlink() as kernel:
        return next((link.index for link in rtnetlink.links(kernel) if link.mac == mac and not link.up), None)


def _index(mac: str) -> int | None:
    with Netlink() as kernel:
        found = rtnetlink.by_mac(rtnetlink.links(kernel)).get(mac)
    return None if found is None else found.index
