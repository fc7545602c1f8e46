"""Kind `nic`, for an agent inside a body: the ports are interfaces the machine has already, found by MAC address.

In a machine of its own the interface is moved from the agent's namespace into the instance's and back. In a container
the agent is in the instance's namespace already, and so are the interfaces: nothing is to be moved.

A cloud may carry a port by an interface with another MAC address (`PortAttachment.nic`): it gets the port's on the way
in. It is known by the address its device was made with, which nothing a tenant wishes for changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from astara.appliance.system import netns, rtnetlink
from astara.appliance.system.netlink import Netlink
from astara.appliance.system.rtnetlink import Link
from astara.contract.agent import PortAttachment
from astara.host import checksums, links
from astara.host.attach.boundary import NotThere

_COMES_WITHIN_S, _LOOK_EVERY_S = 1.5, 0.02


class NicPlug:
    """Takes only interfaces that are down: the one the agent itself is reached by is up, whatever its MAC address."""

    kind = "nic"

    def __init__(self, *, completes_checksums: bool = False) -> None:
        """`completes_checksums`: what is behind the machine's cards does not."""
        self._completes_checksums = completes_checksums

    def prepare(self) -> None:
        """Nothing: interfaces come and go by themselves."""

    def tend(self) -> None:
        """Nothing of ours belongs to the whole machine."""

    def plug(self, port: PortAttachment, inside: Path | None, macs: frozenset[str]) -> None:
        if port.mac in macs:
            return
        carrier = _carrier(port)
        found = _coming(lambda link: link.made_with == carrier and not link.up) if inside is not None else None
        if inside is None or found is None:
            raise NotThere(f"no interface with MAC {carrier} on this machine")
        if found.mac != port.mac:
            _give_mac(found, port.mac)
        if self._completes_checksums:
            checksums.complete(found.name, received=False)
        links.move(found.index, inside, links.inner_name(port.port_id))

    def unplug(self, port: PortAttachment, inside: Path | None) -> None:
        """Give the interface back; what was in a namespace that is gone the kernel has given back."""
        if inside is None:
            return
        try:
            with netns.entered(inside):
                found = _find(lambda link: link.mac == port.mac)
        except netns.NetnsGone:
            return
        if found is None:
            return
        links.move_back(found.index, inside)
        carrier = _carrier(port)
        back = _find(lambda link: link.mac == port.mac and not link.up) if carrier != port.mac else None
        if back is not None:
            _give_mac(back, carrier)

    def in_place(self, port: PortAttachment) -> bool:
        return True


def _carrier(port: PortAttachment) -> str:
    return port.nic or port.mac


def _coming(fits: Callable[[Link], bool]) -> Link | None:
    """A cloud says that it is plugged before the machine's kernel has found it."""
    pause, until = threading.Event(), time.monotonic() + _COMES_WITHIN_S
    while (found := _find(fits)) is None and time.monotonic() < until:
        pause.wait(_LOOK_EVERY_S)
    return found


def _find(fits: Callable[[Link], bool]) -> Link | None:
    with Netlink() as kernel:
        return next((link for link in rtnetlink.links(kernel) if fits(link)), None)


def _give_mac(link: Link, mac: str) -> None:
    """Give an interface of the agent's own namespace another MAC address. Raises LinkError."""
    with Netlink() as kernel:
        error = kernel.attempt([rtnetlink.set_link(link.index, mac=mac)])[0]
    if error is not None:
        raise links.LinkError(f"{link.name}: it does not take the MAC address {mac}: {error.strerror}")
