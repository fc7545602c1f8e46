"""The links of ports: veth pairs whose inner end is born inside the instance's namespace.

Host side `av<first 11 of the port id>`, inner side `ap<...>`. Names only help people: ours are recognised by the
alias `astara:<port id>`, and inside an instance a link is found by its MAC address. Numbers and layouts are those
of include/uapi/linux/if_link.h and rtnetlink(7).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from astara.appliance.system import netlink, netns, rtnetlink
from astara.appliance.system.netlink import Netlink, NetlinkError, Request
from astara.contract.agent import PortAttachment

HOST_PREFIX = "av"
INNER_PREFIX = "ap"
ALIAS_PREFIX = "astara:"
_NAME_PART = 11
_ATTEMPTS = 3
_ERROR, _NEWLINK, _DELLINK, _GETLINK = 2, 16, 17, 18
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_GROUP, _IFLA_NET_NS_FD, _IFLA_EXT_MASK = 18, 20, 27, 28, 29
_INFO_KIND, _INFO_DATA, _VETH_PEER, _VLAN_ID = 1, 2, 1, 1
_BR_STP_STATE, _BR_MCAST_SNOOPING = 5, 23
_SKIP_STATS = 1 << 3
_IFF_UP = 1
_HEADER = struct.Struct("=BxHiII")
_MAKE = netlink.CREATE | netlink.EXCLUSIVE


class LinkError(Exception):
    """The kernel refused; the message says what and on which link."""


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the node's own namespace, as the kernel shows it. `master` is an ifindex."""

    index: int
    name: str
    kind: str
    alias: str
    master: int | None
    up: bool
    mtu: int

    @property
    def ours(self) -> bool:
        return self.alias.startswith(ALIAS_PREFIX)

    @property
    def owner(self) -> str:
        """The port or network id a link of ours belongs to."""
        return self.alias.removeprefix(ALIAS_PREFIX)


class Asking(Netlink):
    """A socket that also asks for one thing."""

    def one(self, request: Request) -> bytes | None:
        """Return the body of the answer, None when there is no such thing. Raises NetlinkError."""
        self._socket.send(self._pack(request.kind, request.flags | netlink.REQUEST, request.body))
        for kind, _, _, body in self._receive():
            if kind != _ERROR:
                return body
            code = -struct.unpack_from("=i", body)[0]
            if code != errno.ENODEV:
                raise NetlinkError(code, os.strerror(code))
        return None


def host_name(port_id: str) -> str:
    return HOST_PREFIX + port_id[:_NAME_PART]


def standby_name(port_id: str) -> str:
    """The outer end of a pair whose instance stands by: no port id begins with an "s"."""
    return f"{HOST_PREFIX}s{port_id[:_NAME_PART]}"


def inner_name(port_id: str) -> str:
    return INNER_PREFIX + port_id[:_NAME_PART]


def alias_of(identifier: str) -> str:
    return ALIAS_PREFIX + identifier


def every() -> list[Link]:
    """Return all links of the node's namespace, in one dump."""
    with Netlink() as kernel:
        return [_link(body) for body in kernel.dump(_GETLINK, _head() + _no_statistics())]


def members(bridge: int) -> list[Link]:
    """Return the links plugged into the bridge with that ifindex."""
    with Netlink() as kernel:
        wanted = _head() + _no_statistics() + netlink.u32(_IFLA_MASTER, bridge)
        return [link for link in map(_link, kernel.dump(_GETLINK, wanted)) if link.master == bridge]


def find(name: str) -> Link | None:
    """Return the link of that name, None when there is none."""
    kernel = Asking()
    with kernel:
        body = kernel.one(Request(_GETLINK, 0, _head() + _name(name) + _no_statistics()))
        return None if body is None else _link(body)


def create_pair(port: PortAttachment, inside: Path, name: str | None = None) -> Link:
    """Make the pair of `port` with its inner end inside the namespace; both ends down, the host end without IPv6.

    `name` is the outer end's, by default the port's own. A link of that name left over from an earlier life of the port
    is removed first.

    Raises:
        LinkError: the kernel refused, or the name belongs to somebody else.
        netns.NetnsGone: no such namespace.
    """
    name = name or host_name(port.port_id)
    for _ in range(_ATTEMPTS):
        with _opened(inside) as namespace:
            made = _do(name, _pair(port, name, namespace), tolerate=errno.EEXIST)
        if not made:
            _clear_leftover(port, name)
            continue
        quieten(name)
        link = find(name)
        if link is not None:
            return link
    raise LinkError(f"{name}: exists and cannot be replaced")


def create_bridge(name: str) -> None:
    """Make a bridge that neither floods by IGMP membership nor speaks spanning tree; an existing one is success."""
    data = netlink.nested(_INFO_DATA, netlink.u32(_BR_STP_STATE, 0), netlink.attribute(_BR_MCAST_SNOOPING, b"\0"))
    body = _head() + _name(name) + netlink.nested(_IFLA_LINKINFO, netlink.text(_INFO_KIND, "bridge"), data)
    _do(name, Request(_NEWLINK, _MAKE, body), tolerate=errno.EEXIST)


def create_vlan(name: str, device: int, vlan_id: int) -> None:
    """Make a VLAN device on `device`. Raises NetlinkError(EOPNOTSUPP) when the kernel has none, LinkError else."""
    data = netlink.nested(_INFO_DATA, netlink.attribute(_VLAN_ID, struct.pack("=H", vlan_id)))
    body = _head() + _name(name) + netlink.u32(_IFLA_LINK, device)
    body += netlink.nested(_IFLA_LINKINFO, netlink.text(_INFO_KIND, "vlan"), data)
    with Netlink() as kernel:
        error = kernel.attempt([Request(_NEWLINK, _MAKE, body)])[0]
    if error is not None and error.errno in (errno.EOPNOTSUPP, errno.ENODEV):
        raise error
    if error is not None and error.errno != errno.EEXIST:
        raise LinkError(f"{name}: {error.strerror}")


def set_up(link: Link, identifier: str, master: int | None = None) -> None:
    """Mark a link as ours, plug it into the bridge `master` and set it up.

    Raises:
        NetlinkError: EXFULL when the bridge takes no more ports. LinkError: anything else.
    """
    body = _HEADER.pack(0, 0, link.index, _IFF_UP, _IFF_UP)
    body += netlink.attribute(_IFLA_IFALIAS, alias_of(identifier).encode())
    if master is not None:
        body += netlink.u32(_IFLA_MASTER, master)
    with Netlink() as kernel:
        error = kernel.attempt([Request(_NEWLINK, 0, body)])[0]
    if error is not None and error.errno == errno.EXFULL:
        raise error
    if error is not None:
        raise LinkError(f"{link.name}: {error.strerror}")


def release(link: Link) -> None:
    """Take a link out of its bridge; it stays up. Raises LinkError."""
    _do(link.name, Request(_NEWLINK, 0, _head(link.index) + netlink.u32(_IFLA_MASTER, 0)), tolerate=errno.ENODEV)


def rename(link: Link, name: str) -> None:
    """Give a link another name while it is up (Linux 6.2). Raises LinkError."""
    _do(link.name, Request(_NEWLINK, 0, _head(link.index) + _name(name)), tolerate=errno.ENODEV)


def remove(name: str) -> None:
    """Delete a link and with it its peer; absence is success."""
    _do(name, Request(_DELLINK, 0, _head() + _name(name)), tolerate=errno.ENODEV)


def remove_many(names: Iterable[str]) -> None:
    """Delete links and with them their peers, all in one step; absence is success.

    One by one each would wait for the kernel's grace periods, 16 ms; as a group they wait together.
    """
    present = [link for name in names if (link := find(name)) is not None]
    if len(present) < 2:
        for link in present:
            remove(link.name)
        return
    group = netlink.u32(_IFLA_GROUP, secrets.randbelow(2**31 - 1) + 1)
    gather = [Request(_NEWLINK, 0, _head(link.index) + group) for link in present]
    with Netlink() as kernel:
        errors = kernel.attempt([*gather, Request(_DELLINK, 0, _head() + group)])
    if any(error is not None and error.errno != errno.ENODEV for error in errors):
        for link in present:
            remove(link.name)


def move(index: int, inside: Path, name: str) -> None:
    """Move a link of the node's own namespace into another and give it that name there; it is down afterwards.

    Raises:
        LinkError: the kernel refused, or the name is taken there. netns.NetnsGone: no such namespace.
    """
    with _opened(inside) as namespace:
        _move(index, namespace, _name(name))


def move_back(index: int, inside: Path) -> None:
    """Move a link out of a namespace into the node's own, where it keeps its name. Raises as `move` does."""
    with _opened(Path("/proc/thread-self/ns/net")) as own, netns.entered(inside):
        _move(index, own, b"")


def _move(index: int, namespace: int, further: bytes) -> None:
    body = _HEADER.pack(0, 0, index, 0, _IFF_UP) + netlink.u32(_IFLA_NET_NS_FD, namespace) + further
    _do(f"link {index}", Request(_NEWLINK, 0, body), tolerate=errno.ENODEV)


def inner_macs(inside: Path | None) -> frozenset[str]:
    """Return the MAC addresses of the links inside a namespace. Raises netns.NetnsGone."""
    with netns.entered(inside), Netlink() as kernel:
        return frozenset(rtnetlink.by_mac(rtnetlink.links(kernel)))


def outer_ends(inside: Path | None) -> dict[str, int]:
    """Return MAC address -> index of the other end, for the links inside a namespace. Raises netns.NetnsGone."""
    with netns.entered(inside), Netlink() as kernel:
        found = [netlink.attributes(body, 16) for body in kernel.dump(_GETLINK, _head() + _no_statistics())]
    return {
        link[_IFLA_ADDRESS].hex(":"): struct.unpack("=I", link[_IFLA_LINK])[0]
        for link in found
        if _IFLA_ADDRESS in link and _IFLA_LINK in link
    }


def quieten(name: str) -> None:
    """The node itself shall not speak on a tenant's link: no IPv6 address, no answer to ARP."""
    _set(name, "ipv6", "disable_ipv6", "1")
    _set(name, "ipv4", "arp_ignore", "8")


def _set(name: str, family: str, key: str, value: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # gone already, or a kernel without IPv6
        Path(f"/proc/sys/net/{family}/conf/{name}/{key}").write_text(value)


def _pair(port: PortAttachment, name: str, namespace: int) -> Request:
    mac = bytes.fromhex(port.mac.replace(":", ""))
    peer = _head() + _name(inner_name(port.port_id)) + netlink.attribute(_IFLA_ADDRESS, mac)
    peer += netlink.u32(_IFLA_MTU, port.mtu) + netlink.u32(_IFLA_NET_NS_FD, namespace)
    data = netlink.nested(_INFO_DATA, netlink.attribute(_VETH_PEER, peer))
    body = _head() + _name(name) + netlink.u32(_IFLA_MTU, port.mtu)
    return Request(_NEWLINK, _MAKE, body + netlink.nested(_IFLA_LINKINFO, netlink.text(_INFO_KIND, "veth"), data))


def _clear_leftover(port: PortAttachment, name: str) -> None:
    """Either name may be taken: the host's by an earlier life of the port, the inner one only together with it."""
    old = find(name)
    if old is None:
        return  # it went away meanwhile
    if old.ours and old.owner != port.port_id:
        raise LinkError(f"{name}: taken by port {old.owner}; the first {_NAME_PART} characters of both ids are equal")
    remove(name)


def _do(name: str, request: Request, tolerate: int) -> bool:
    """Carry out; False when it ended in the tolerated errno. Raises LinkError."""
    with Netlink() as kernel:
        error = kernel.attempt([request])[0]
    if error is not None and error.errno != tolerate:
        raise LinkError(f"{name}: {error.strerror}")
    return error is None


@contextlib.contextmanager
def _opened(inside: Path) -> Iterator[int]:
    try:
        handle = os.open(inside, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise netns.NetnsGone(errno.ENOENT, "no such network namespace", str(inside)) from error
    try:
        yield handle
    finally:
        os.close(handle)


def _head(index: int = 0) -> bytes:
    return _HEADER.pack(0, 0, index, 0, 0)


def _name(name: str) -> bytes:
    return netlink.text(_IFLA_IFNAME, name)


def _no_statistics() -> bytes:
    return netlink.u32(_IFLA_EXT_MASK, _SKIP_STATS)


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _HEADER.unpack_from(body)
    found = netlink.attributes(body, 16)
    info = netlink.attributes(found.get(_IFLA_LINKINFO, b""))
    master = found.get(_IFLA_MASTER)
    return Link(
        index=index,
        name=_words(found[_IFLA_IFNAME]),
        kind=_words(info.get(_INFO_KIND, b"")),
        alias=_words(found.get(_IFLA_IFALIAS, b"")),
        master=None if master is None else struct.unpack("=I", master)[0],
        up=bool(flags & _IFF_UP),
        mtu=struct.unpack("=I", found[_IFLA_MTU])[0],
    )


def _words(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode(errors="replace")
