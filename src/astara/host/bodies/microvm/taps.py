"""A machine's taps in the namespace of its instance, and what joins them to the veths of its ports.

Two redirects join a tap and a veth: whatever comes in at one goes out at the other (tc-mirred(8)). A bridge between
them would answer for the MAC address, which the veth and the machine's interface share.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path

from astara.appliance.system import netns, rtnetlink, sysctl, tc
from astara.appliance.system.netlink import Netlink
from astara.appliance.system.rtnetlink import Link
from astara.contract.agent import PortAttachment

PREFIX = "at"
MANAGEMENT = "mgmt0"
_NAME_PART = 11
_TUN = "/dev/net/tun"
#: include/uapi/linux/if_tun.h
_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_TAP, _NO_PACKET_INFO, _VNET_HDR = 0x0002, 0x1000, 0x4000


def name_of(port: PortAttachment) -> str:
    return PREFIX + port.port_id[:_NAME_PART]


@contextlib.contextmanager
def opened(inside: Path, name: str) -> Iterator[int]:
    """A descriptor of the tap `name` in the namespace, made unless it is there; it stays when this ends.

    Raises:
        OSError: no such namespace, or the tap is in use by another process.
    """
    with netns.entered(inside):
        handle = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            request = struct.pack("16sH22x", name.encode(), _TAP | _NO_PACKET_INFO | _VNET_HDR)
            fcntl.ioctl(handle, _TUNSETIFF, request)
            fcntl.ioctl(handle, _TUNSETPERSIST, 1)
        except BaseException:
            os.close(handle)
            raise
    try:
        yield handle
    finally:
        os.close(handle)


def raise_management(inside: Path, address: IPv4Interface) -> None:
    """Give the management tap the node's address and set it up. Raises OSError."""
    with netns.entered(inside), Netlink() as kernel:
        link = _by_name(kernel)[MANAGEMENT]
        kernel.do([rtnetlink.set_link(link.index, up=True), rtnetlink.add_address(link.index, address)])


def join(inside: Path, port: PortAttachment) -> None:
    """Join a port's veth and its tap, both up; idempotent. Raises OSError."""
    with netns.entered(inside), Netlink() as kernel:
        links = _by_name(kernel)
        tap, veth = links[name_of(port)], _veth(links, port)
        for one in (tap, veth):
            if not one.up:
                _silence(one.name)
            kernel.do([rtnetlink.set_link(one.index, mtu=port.mtu, up=True)])
        for one, other in ((tap, veth), (veth, tap)):
            _redirect(kernel, one.index, other.index)


def joined(inside: Path, ports: tuple[PortAttachment, ...]) -> bool:
    """Whether every port's veth and tap are joined."""
    try:
        with netns.entered(inside), Netlink() as kernel:
            links = _by_name(kernel)
            return MANAGEMENT in links and all(_is_joined(kernel, links, port) for port in ports)
    except OSError:
        return False


def remove(inside: Path, keep: tuple[PortAttachment, ...]) -> None:
    """Delete the taps of ports other than those to `keep`; absence is success. Raises OSError."""
    names = {name_of(port) for port in keep}
    with contextlib.suppress(netns.NetnsGone), netns.entered(inside), Netlink() as kernel:
        for link in rtnetlink.links(kernel):
            if link.name.startswith(PREFIX) and link.name not in names:
                kernel.attempt([rtnetlink.delete_link(link.index)])


def _silence(name: str) -> None:
    """The node's own stack shall not speak on a tenant's link: it has the machine's MAC address."""
    with contextlib.suppress(FileNotFoundError), sysctl.Settings() as settings:
        settings.write(f"ipv6/conf/{name}/disable_ipv6", "1")


def _by_name(kernel: Netlink) -> dict[str, Link]:
    return {link.name: link for link in rtnetlink.links(kernel)}


def _veth(links: dict[str, Link], port: PortAttachment) -> Link:
    return next(link for link in links.values() if link.mac == port.mac and link.kind == "veth")


def _is_joined(kernel: Netlink, links: dict[str, Link], port: PortAttachment) -> bool:
    tap = links.get(name_of(port))
    veth = next((link for link in links.values() if link.mac == port.mac and link.kind == "veth"), None)
    if tap is None or veth is None or not (tap.up and veth.up):
        return False
    return _goes_to(kernel, tap.index) == veth.index and _goes_to(kernel, veth.index) == tap.index


def _goes_to(kernel: Netlink, index: int) -> int:
    return next((one.redirect for one in tc.filters(kernel, index, tc.INGRESS_HANDLE) if one.redirect), 0)


def _redirect(kernel: Netlink, index: int, target: int) -> None:
    if _goes_to(kernel, index) == target:
        return
    kernel.attempt([tc.delete_discipline(index, tc.INGRESS_HANDLE, tc.INGRESS_PARENT)])
    kernel.do([tc.add_ingress(index), tc.add_redirect(index, target)])
