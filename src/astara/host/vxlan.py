"""One VXLAN device per network (RFC 7348): what it floods goes to every other node by head-end replication.

Numbers and layouts are those of include/uapi/linux/if_link.h and neighbour.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address

from astara.appliance.system import netlink
from astara.appliance.system.netlink import Netlink, Request
from astara.host.links import LinkError

PORT = 4789
VNIS = range(1, 1 << 24)
_NEWLINK, _NEWNEIGH = 16, 28
_IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _INFO_KIND, _INFO_DATA = 3, 4, 18, 1, 2
_VXLAN_ID, _VXLAN_LOCAL, _VXLAN_PORT = 1, 4, 15
_NDA_DST, _NDA_LLADDR = 1, 2
_PERMANENT, _NOARP, _SELF = 0x80, 0x40, 0x02
_APPEND = 0x800
_EVERYBODY = bytes(6)


def create(name: str, vni: int, mtu: int, local: IPv4Address) -> None:
    """Make a device that learns where MAC addresses are; an existing one is success. Raises LinkError."""
    data = netlink.nested(
        _INFO_DATA,
        netlink.u32(_VXLAN_ID, vni),
        netlink.attribute(_VXLAN_LOCAL, local.packed),
        netlink.attribute(_VXLAN_PORT, struct.pack("!H", PORT)),
    )
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + netlink.text(_IFLA_IFNAME, name) + netlink.u32(_IFLA_MTU, mtu)
    body += netlink.nested(_IFLA_LINKINFO, netlink.text(_INFO_KIND, "vxlan"), data)
    _do(name, [Request(_NEWLINK, netlink.CREATE | netlink.EXCLUSIVE, body)])


def flood_to(name: str, index: int, peers: Sequence[IPv4Address]) -> None:
    """Send what has no known place to all of `peers`; those that are there already stay. Raises LinkError."""
    head = struct.pack("=BxxxiHBB", socket.AF_BRIDGE, index, _PERMANENT | _NOARP, _SELF, 0)
    everybody = netlink.attribute(_NDA_LLADDR, _EVERYBODY)
    bodies = [head + everybody + netlink.attribute(_NDA_DST, peer.packed) for peer in peers]
    _do(name, [Request(_NEWNEIGH, netlink.CREATE | _APPEND, body) for body in bodies])


def _do(name: str, requests: Sequence[Request]) -> None:
    with Netlink() as kernel:
        for error in kernel.attempt(requests):
            if error is not None and error.errno != errno.EEXIST:
                raise LinkError(f"{name}: {error.strerror}")
