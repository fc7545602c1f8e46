"""Links and addresses of the thread's namespace over rtnetlink (rtnetlink(7))."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from astara.appliance.system import netlink, netns
from astara.appliance.system.netlink import Netlink, Request

#: The number that marks routes, rules and addresses as ours (rtm_protocol, FRA_PROTOCOL, IFA_PROTO).
OURS = 91

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_EXT_MASK = 1, 3, 4, 18, 20, 29
_IFLA_TXQLEN, _IFLA_PERM_ADDRESS = 13, 54
_IFLA_INFO_KIND = 1
_IFLA_AF_SPEC, _INET6_ADDR_GEN_MODE, _NO_ADDRESSES = 26, 8, 1
_SKIP_STATS = 1 << 3
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS, _IFA_PROTO = 1, 2, 4, 8, 11
_IFF_UP = 1
_IFA_F_NODAD, _IFA_F_PERMANENT, _IFA_F_TENTATIVE, _IFA_F_DADFAILED = 0x02, 0x80, 0x40, 0x08
_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30
_NDA_DST, _NDA_LLADDR, _NTF_PROXY, _NUD_PERMANENT = 1, 2, 8, 0x80
_NEIGHBOUR_HEADER = struct.Struct("=BxxxiHBB")
_LINK_HEADER = struct.Struct("=BxHiII")
_ADDRESS_HEADER = struct.Struct("=BBBBI")


_look = threading.local()


@dataclass(frozen=True, slots=True)
class Link:
    """`mac` in lower case with colons, "" for a link without one; `kind` e.g. "veth", "" when the kernel names none.

    `families`: what each protocol family says of the link, unread (IFLA_AF_SPEC); see devconf.
    `made_with`: the address its device was made with, whatever it has now; `mac` where the device has none of its own.
    """

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    kind: str
    alias: str
    families: bytes = field(default=b"", compare=False, repr=False)
    made_with: str = ""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A neighbour entry that makes a link answer solicitations for somebody else's address."""

    index: int
    address: ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Who has an IPv4 address on a link, and nobody is asked."""

    index: int
    address: ipaddress.IPv4Address
    mac: str


@dataclass(frozen=True, slots=True)
class Address:
    """`ours`: it carries our protocol number (kernels before 5.18 cannot say; False there)."""

    index: int
    interface: Interface
    permanent: bool
    tentative: bool
    ours: bool


def links(kernel: Netlink) -> list[Link]:
    """Return every link of the namespace. Raises NetlinkError."""
    body = _LINK_HEADER.pack(0, 0, 0, 0, 0) + netlink.u32(_IFLA_EXT_MASK, _SKIP_STATS)
    return [_link(answer) for answer in kernel.dump(_GETLINK, body)]


@contextmanager
def one_look() -> Iterator[None]:
    """Let this thread's calls of `seen_links` inside share one dump; names, indices and MACs do not change meanwhile.

    A dump of links waits for the kernel's one lock for all configuration of all namespaces, so it is worth sparing.
    """
    outer = getattr(_look, "links", None)
    _look.links = {}
    try:
        yield
    finally:
        _look.links = outer


def seen_links(kernel: Netlink) -> list[Link]:
    """Return every link of the namespace, as of the first call inside `one_look`. Raises NetlinkError.

    Good for name, index, MAC, kind and alias; for what we change ourselves ask `links`.
    """
    shared: dict[Path | None, list[Link]] | None = getattr(_look, "links", None)
    if shared is None:
        return links(kernel)
    here = netns.here()
    if here not in shared:
        shared[here] = links(kernel)
    return shared[here]


def addresses(kernel: Netlink) -> list[Address]:
    """Return every address of the namespace. Raises NetlinkError."""
    return [_address(answer) for answer in kernel.dump(_GETADDR, _ADDRESS_HEADER.pack(0, 0, 0, 0, 0))]


def proxies(kernel: Netlink) -> list[Proxy]:
    """Return the IPv6 neighbour proxies of the namespace. Raises NetlinkError."""
    found = []
    for answer in kernel.dump(_GETNEIGH, _NEIGHBOUR_HEADER.pack(socket.AF_INET6, 0, 0, _NTF_PROXY, 0)):
        index = _NEIGHBOUR_HEADER.unpack_from(answer)[1]
        packed = netlink.attributes(answer, 12).get(_NDA_DST)
        if packed is not None and len(packed) == 16:
            found.append(Proxy(index, ipaddress.IPv6Address(packed)))
    return found


def add_proxy(proxy: Proxy) -> Request:
    return Request(_NEWNEIGH, netlink.CREATE | netlink.REPLACE, _proxy_body(proxy))


def delete_proxy(proxy: Proxy) -> Request:
    return Request(_DELNEIGH, 0, _proxy_body(proxy))


def neighbours(kernel: Netlink) -> list[Neighbour]:
    """Return the permanent IPv4 neighbours of the namespace. Raises NetlinkError."""
    found = []
    for answer in kernel.dump(_GETNEIGH, _NEIGHBOUR_HEADER.pack(socket.AF_INET, 0, 0, 0, 0)):
        _, index, state, _, _ = _NEIGHBOUR_HEADER.unpack_from(answer)
        said = netlink.attributes(answer, 12)
        if state & _NUD_PERMANENT and _NDA_LLADDR in said:
            found.append(Neighbour(index, ipaddress.IPv4Address(said[_NDA_DST]), said[_NDA_LLADDR].hex(":")))
    return found


def add_neighbour(neighbour: Neighbour) -> Request:
    """Also of one that was asked for until now, or had another MAC address."""
    return Request(_NEWNEIGH, netlink.CREATE | netlink.REPLACE, _neighbour_body(neighbour))


def delete_neighbour(neighbour: Neighbour) -> Request:
    return Request(_DELNEIGH, 0, _neighbour_body(neighbour))


def _neighbour_body(neighbour: Neighbour) -> bytes:
    header = _NEIGHBOUR_HEADER.pack(socket.AF_INET, neighbour.index, _NUD_PERMANENT, 0, 0)
    hardware = netlink.attribute(_NDA_LLADDR, bytes.fromhex(neighbour.mac.replace(":", "")))
    return header + netlink.attribute(_NDA_DST, neighbour.address.packed) + hardware


def by_mac(found: Sequence[Link]) -> dict[str, Link]:
    """Return MAC -> link for links that somebody plugged in; links of ours on top of them (ifb) do not count."""
    return {link.mac: link for link in found if link.mac and link.kind != "ifb"}


def set_link(
    index: int, *, mtu: int | None = None, up: bool | None = None, alias: str | None = None, mac: str | None = None
) -> Request:
    """Return the request that changes what is not None."""
    flags, change = (int(bool(up)), _IFF_UP) if up is not None else (0, 0)
    body = _LINK_HEADER.pack(0, 0, index, flags, change)
    if mtu is not None:
        body += netlink.u32(_IFLA_MTU, mtu)
    if alias is not None:
        body += netlink.attribute(_IFLA_IFALIAS, alias.encode())
    if mac is not None:
        body += netlink.attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
    return Request(_NEWLINK, 0, body)


def new_ifb(name: str, alias: str, queue_packets: int) -> tuple[Request, ...]:
    """Return the requests that make an intermediate functional block device, name its purpose, and raise it.

    Three, because the kernel ignores an alias at creation, and must know before it raises the device that it shall
    have no link-local address.
    """
    named = _LINK_HEADER.pack(0, 0, 0, 0, 0) + netlink.text(_IFLA_IFNAME, name)
    raised = _LINK_HEADER.pack(0, 0, 0, _IFF_UP, _IFF_UP) + netlink.text(_IFLA_IFNAME, name)
    kind = netlink.nested(_IFLA_LINKINFO, netlink.text(_IFLA_INFO_KIND, "ifb"))
    silent = netlink.nested(
        _IFLA_AF_SPEC,
        netlink.nested(socket.AF_INET6, netlink.attribute(_INET6_ADDR_GEN_MODE, bytes([_NO_ADDRESSES]))),
    )
    return (
        Request(_NEWLINK, netlink.CREATE, named + netlink.u32(_IFLA_TXQLEN, queue_packets) + kind),
        Request(_SETLINK, 0, named + netlink.attribute(_IFLA_IFALIAS, alias.encode()) + silent),
        Request(_SETLINK, 0, raised),
    )


def delete_link(index: int) -> Request:
    return Request(_DELLINK, 0, _LINK_HEADER.pack(0, 0, index, 0, 0))


def add_address(index: int, interface: Interface) -> Request:
    """Return the request that adds an address, marked as ours, without duplicate address detection.

    Neutron's IPAM already made it unique; detection would make every router's first second silent.
    """
    body = _address_body(index, interface)
    body += netlink.u32(_IFA_FLAGS, _IFA_F_NODAD | _IFA_F_PERMANENT)
    body += netlink.attribute(_IFA_PROTO, bytes([OURS]))
    if interface.version == 4 and interface.network.prefixlen < 31:
        body += netlink.attribute(_IFA_BROADCAST, interface.network.broadcast_address.packed)
    return Request(_NEWADDR, netlink.CREATE | netlink.REPLACE, body)


def delete_address(index: int, interface: Interface) -> Request:
    return Request(_DELADDR, 0, _address_body(index, interface))


def _address_body(index: int, interface: Interface) -> bytes:
    family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    packed = interface.ip.packed
    header = _ADDRESS_HEADER.pack(family, interface.network.prefixlen, 0, 0, index)
    return header + netlink.attribute(_IFA_LOCAL, packed) + netlink.attribute(_IFA_ADDRESS, packed)


def _proxy_body(proxy: Proxy) -> bytes:
    header = _NEIGHBOUR_HEADER.pack(socket.AF_INET6, proxy.index, _NUD_PERMANENT, _NTF_PROXY, 0)
    return header + netlink.attribute(_NDA_DST, proxy.address.packed)


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK_HEADER.unpack_from(body)
    found = netlink.attributes(body, 16)
    info = netlink.attributes(found.get(_IFLA_LINKINFO, b""))
    address = found.get(_IFLA_ADDRESS, b"")
    return Link(
        index=index,
        name=_words(found[_IFLA_IFNAME]),
        mac=address.hex(":"),
        mtu=struct.unpack("=I", found[_IFLA_MTU])[0],
        up=bool(flags & _IFF_UP),
        kind=_words(info.get(_IFLA_INFO_KIND, b"")),
        alias=_words(found.get(_IFLA_IFALIAS, b"")),
        families=found.get(_IFLA_AF_SPEC, b""),
        made_with=found.get(_IFLA_PERM_ADDRESS, address).hex(":"),
    )


@lru_cache(maxsize=1024)
def _address(body: bytes) -> Address:
    _, prefix, flags, _, index = _ADDRESS_HEADER.unpack_from(body)
    found = netlink.attributes(body, 8)
    if _IFA_FLAGS in found:
        flags = struct.unpack("=I", found[_IFA_FLAGS])[0]
    packed = found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]
    kind = ipaddress.IPv4Interface if len(packed) == 4 else ipaddress.IPv6Interface
    return Address(
        index=index,
        interface=kind((packed, prefix)),
        permanent=bool(flags & _IFA_F_PERMANENT),
        tentative=bool(flags & (_IFA_F_TENTATIVE | _IFA_F_DADFAILED)),
        ours=found.get(_IFA_PROTO) == bytes([OURS]),
    )


def _words(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode(errors="replace")
