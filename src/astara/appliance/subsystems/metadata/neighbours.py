"""The kernel's IPv6 neighbour table: which MAC address an on-link address answers from (rtnetlink(7))."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Address
from pathlib import Path

from astara.appliance.system import netlink, netns

_GETNEIGH = 30
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX = 1, 2, 8
_HEADER = struct.Struct("=BxxxiHBB")  # family, link, state, flags, type
_UNRESOLVED = 0x01 | 0x20  # NUD_INCOMPLETE, NUD_FAILED


def mac_of(place_netns: Path | None, link_index: int, address: IPv6Address) -> str | None:
    """Return the MAC address behind `address` on a link, None when the kernel does not know it.

    Raises:
        NetnsGone, NetlinkError.
    """
    wanted = _HEADER.pack(socket.AF_INET6, 0, 0, 0, 0) + netlink.u32(_NDA_IFINDEX, link_index)
    with netns.entered(place_netns), netlink.Netlink() as kernel:
        answers = kernel.dump(_GETNEIGH, wanted)
    for answer in answers:
        _, index, state, _, _ = _HEADER.unpack_from(answer)
        found = netlink.attributes(answer, _HEADER.size)
        if index == link_index and found.get(_NDA_DST) == address.packed and not state & _UNRESOLVED:
            lladdr = found.get(_NDA_LLADDR)
            return lladdr.hex(":") if lladdr else None
    return None
