"""The connection tracking table over nfnetlink: list by address, and end single connections.

The kernel filters by the dump request's CTA_FILTER (Linux 5.8 and later), so asking for the connections of one
address costs what that address has, not what the machine has.
Formats: include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from astara.appliance.system import netlink
from astara.appliance.system.netlink import Netlink, NetlinkError, Request

_SUBSYSTEM = 1 << 8
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_ORIGINAL, _REPLY, _STATUS, _ID, _ZONE, _FILTER, _STATUS_MASK = 1, 2, 3, 12, 18, 25, 26
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SOURCE, _IP_DESTINATION = 1, 2
_PROTO_NUMBER, _PROTO_SOURCE, _PROTO_DESTINATION = 1, 2, 3
_FILTER_ORIGINAL, _FILTER_REPLY = 1, 2
_FLAG_SOURCE, _FLAG_DESTINATION = 1 << 0, 1 << 1
_HEADER = struct.Struct("!BBH")
_INET = 2
#: IPS_SRC_NAT | IPS_DST_NAT
_TRANSLATED = 0x30


@dataclass(frozen=True, slots=True)
class Direction:
    source: IPv4Address
    destination: IPv4Address
    protocol: int
    source_port: int
    destination_port: int


@dataclass(frozen=True, slots=True)
class Connection:
    """`original` as the first packet came, `reply` as answers come. `key` ends this connection and no later one."""

    original: Direction
    reply: Direction
    key: bytes


def towards(kernel: Netlink, address: IPv4Address) -> list[Connection]:
    """Return IPv4 connections whose first packet was sent to `address`. Raises NetlinkError."""
    return _listed(kernel, _ORIGINAL, _FILTER_ORIGINAL, address)


def answered_at(kernel: Netlink, address: IPv4Address) -> list[Connection]:
    """Return IPv4 connections whose answers are sent to `address`: what leaves under that name."""
    return _listed(kernel, _REPLY, _FILTER_REPLY, address)


def translated(kernel: Netlink) -> list[Connection]:
    """Return all IPv4 connections that are translated in either direction. Raises NetlinkError."""
    found = []
    for answer in kernel.dump(_GET, _HEADER.pack(_INET, 0, 0)):
        said = netlink.attributes(answer, 4)
        if struct.unpack("!I", said.get(_STATUS, bytes(4)))[0] & _TRANSLATED:
            found.append(_connection(said))
    return found


def end(kernel: Netlink, connections: Sequence[Connection]) -> int:
    """End the connections; one that has ended meanwhile is success.

    Returns how many were there. Raises NetlinkError.
    """
    requests = [Request(_DELETE, 0, _HEADER.pack(_INET, 0, 0) + connection.key) for connection in connections]
    ended = 0
    for error in kernel.attempt(requests):
        if error is None:
            ended += 1
        elif error.errno != errno.ENOENT:
            raise error
    return ended


def _listed(kernel: Netlink, which: int, flags_kind: int, address: IPv4Address) -> list[Connection]:
    ip = netlink.nested(_TUPLE_IP, netlink.attribute(_IP_DESTINATION, address.packed))
    body = _HEADER.pack(_INET, 0, 0) + netlink.nested(which, ip)
    body += netlink.nested(_FILTER, netlink.u32(flags_kind, _FLAG_DESTINATION))
    try:
        answers = kernel.dump(_GET, body)
    except NetlinkError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        answers = kernel.dump(_GET, _HEADER.pack(_INET, 0, 0))  # a kernel before 5.8: filter here
    found = [_connection(netlink.attributes(answer, 4)) for answer in answers]
    if which == _ORIGINAL:
        return [connection for connection in found if connection.original.destination == address]
    return [connection for connection in found if connection.reply.destination == address]


def _connection(said: dict[int, bytes]) -> Connection:
    key = netlink.attribute(_ORIGINAL | 0x8000, said[_ORIGINAL])
    if _ZONE in said:
        key += netlink.attribute(_ZONE, said[_ZONE])
    key += netlink.attribute(_ID, said[_ID])
    return Connection(_direction(said[_ORIGINAL]), _direction(said[_REPLY]), key)


def _direction(payload: bytes) -> Direction:
    said = netlink.attributes(payload)
    ip = netlink.attributes(said[_TUPLE_IP])
    proto = netlink.attributes(said[_TUPLE_PROTO])
    return Direction(
        source=IPv4Address(ip[_IP_SOURCE]),
        destination=IPv4Address(ip[_IP_DESTINATION]),
        protocol=proto[_PROTO_NUMBER][0],
        source_port=int.from_bytes(proto.get(_PROTO_SOURCE, b""), "big"),
        destination_port=int.from_bytes(proto.get(_PROTO_DESTINATION, b""), "big"),
    )
