"""The connection tracking table over nfnetlink: list by address, end and close single connections.

The kernel filters by the dump request's CTA_FILTER (Linux 5.8 and later), so asking for the connections of one
address costs what that address has, not what the machine has.
Formats: include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from astara.appliance.system import netlink
from astara.appliance.system.netlink import Netlink, NetlinkError, Request

_SUBSYSTEM = 1 << 8
_NEW, _GET, _DELETE = _SUBSYSTEM | 0, _SUBSYSTEM | 1, _SUBSYSTEM | 2
_ORIGINAL, _REPLY, _STATUS, _TIMEOUT, _MARK, _ID, _ZONE, _FILTER, _MARK_MASK = 1, 2, 3, 7, 8, 12, 18, 25, 21
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SOURCE, _IP_DESTINATION, _IP6_SOURCE, _IP6_DESTINATION = 1, 2, 3, 4
_PROTO_NUMBER, _PROTO_SOURCE, _PROTO_DESTINATION = 1, 2, 3
_FILTER_ORIGINAL, _FILTER_REPLY = 1, 2
_FLAG_SOURCE, _FLAG_DESTINATION = 1 << 0, 1 << 1
_HEADER = struct.Struct("!BBH")
_NESTED = 0x8000
_ANY, _INET, _INET6 = 0, 2, 10
#: IPS_SRC_NAT | IPS_DST_NAT
_TRANSLATED = 0x30
#: IPS_SEEN_REPLY | IPS_ASSURED: may be set at any time and never cleared, so setting them cannot be refused.
_ALIVE = 0x06
#: IPS_FIXED_TIMEOUT: packets do not prolong it.
_FIXED_TIMEOUT = 0x400
#: As long as a sender repeats what is not acknowledged (tcp_retries2).
_CLOSED_S = 924

_PROTOINFO, _NAT_SOURCE, _NAT_DESTINATION, _LABELS = 4, 6, 13, 22
_TCP_INFO, _TCP_STATE, _TCP_SCALE_ORIGINAL, _TCP_SCALE_REPLY, _TCP_FLAGS_ORIGINAL, _TCP_FLAGS_REPLY = 1, 1, 2, 3, 4, 5
_NAT_FROM_4, _NAT_TO_4, _NAT_PORTS, _NAT_FROM_6, _NAT_TO_6, _NAT_FIRST_PORT, _NAT_LAST_PORT = 1, 2, 3, 4, 5, 1, 2
_SRC_NAT, _DST_NAT, _CONFIRMED = 0x10, 0x20, 0x8
#: IPS_EXPECTED | IPS_DYING: a copy is neither.
_NOT_COPIED = 0x201
#: IP_CT_TCP_FLAG_BE_LIBERAL: how far each end's window has come is not told.
_LIBERAL = 0x08
_WITH_PORTS = (6, 17, 132, 33)

IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Direction:
    source: IPAddress
    destination: IPAddress
    protocol: int
    source_port: int
    destination_port: int


@dataclass(frozen=True, slots=True)
class Connection:
    """`original` as the first packet came, `reply` as answers come. `key` ends this connection and no later one."""

    original: Direction
    reply: Direction
    key: bytes
    status: int = field(default=0, compare=False)

    @property
    def translated(self) -> bool:
        """Whether it is translated in either direction."""
        return bool(self.status & _TRANSLATED)

    @property
    def family(self) -> int:
        return _INET if self.original.source.version == 4 else _INET6


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


def everything(kernel: Netlink) -> list[Connection]:
    """Return all connections of both IP versions. Raises NetlinkError."""
    return [_connection(netlink.attributes(answer, 4)) for answer in kernel.dump(_GET, _HEADER.pack(_ANY, 0, 0))]


def copies(kernel: Netlink) -> list[Request]:
    """Return what makes the connections of this namespace known in another: for `restore`, there.

    TCP, UDP, SCTP and DCCP; what is translated is translated the same. Raises NetlinkError.
    """
    said = (netlink.attributes(answer, 4) for answer in kernel.dump(_GET, _HEADER.pack(_ANY, 0, 0)))
    return [_copy(one) for one in said if _connection(one).original.protocol in _WITH_PORTS]


def restore(kernel: Netlink, requests: Sequence[Request]) -> int:
    """Carry out `copies`; what is known here already stays. Returns how many were made; refused ones are left out."""
    return sum(error is None for error in kernel.attempt(requests))


def _copy(said: dict[int, bytes]) -> Request:
    found = _connection(said)
    status = (found.status & ~_NOT_COPIED) | _CONFIRMED
    body = _HEADER.pack(found.family, 0, 0) + netlink.attribute(_ORIGINAL | _NESTED, said[_ORIGINAL])
    # The kernel works the answers' direction out of the translation: it wants it as it was before.
    body += _tuple(_REPLY, found.original) if found.translated else netlink.attribute(_REPLY | _NESTED, said[_REPLY])
    body += netlink.attribute(_STATUS, struct.pack("!I", status))
    body += b"".join(netlink.attribute(kind, said[kind]) for kind in (_TIMEOUT, _MARK, _ZONE, _LABELS) if kind in said)
    if found.status & _DST_NAT:
        body += _translation(_NAT_DESTINATION, found.reply.source, found.reply.source_port)
    if found.status & _SRC_NAT:
        body += _translation(_NAT_SOURCE, found.reply.destination, found.reply.destination_port)
    if _PROTOINFO in said:
        body += _liberal(said[_PROTOINFO])
    return Request(_NEW, netlink.CREATE | netlink.EXCLUSIVE, body)


def _tuple(kind: int, answered: Direction) -> bytes:
    """Return the direction of answers to `answered`."""
    four = answered.source.version == 4
    source, destination = (_IP_SOURCE, _IP_DESTINATION) if four else (_IP6_SOURCE, _IP6_DESTINATION)
    ip = netlink.attribute(source, answered.destination.packed) + netlink.attribute(destination, answered.source.packed)
    proto = netlink.attribute(_PROTO_NUMBER, bytes([answered.protocol]))
    proto += netlink.attribute(_PROTO_SOURCE, struct.pack("!H", answered.destination_port))
    proto += netlink.attribute(_PROTO_DESTINATION, struct.pack("!H", answered.source_port))
    return netlink.nested(kind, netlink.nested(_TUPLE_IP, ip), netlink.nested(_TUPLE_PROTO, proto))


def _translation(kind: int, address: IPAddress, port: int) -> bytes:
    first, last = (_NAT_FROM_4, _NAT_TO_4) if address.version == 4 else (_NAT_FROM_6, _NAT_TO_6)
    ports = [netlink.attribute(which, struct.pack("!H", port)) for which in (_NAT_FIRST_PORT, _NAT_LAST_PORT)]
    addresses = [netlink.attribute(which, address.packed) for which in (first, last)]
    return netlink.nested(kind, *addresses, netlink.nested(_NAT_PORTS, *ports))


def _liberal(info: bytes) -> bytes:
    tcp = netlink.attributes(netlink.attributes(info).get(_TCP_INFO, b""))
    kept = [
        netlink.attribute(kind, tcp[kind])
        for kind in (_TCP_STATE, _TCP_SCALE_ORIGINAL, _TCP_SCALE_REPLY)
        if kind in tcp
    ]
    flags = [
        netlink.attribute(kind, bytes([tcp[kind][0] | _LIBERAL, 0xFF]))
        for kind in (_TCP_FLAGS_ORIGINAL, _TCP_FLAGS_REPLY)
        if kind in tcp
    ]
    return netlink.nested(_PROTOINFO, netlink.nested(_TCP_INFO, *kept, *flags))


def end(kernel: Netlink, connections: Sequence[Connection]) -> int:
    """End the connections; one that has ended meanwhile is success.

    Returns how many were there. Raises NetlinkError.
    """
    return _each(kernel, [Request(_DELETE, 0, _addressed(connection)) for connection in connections])


def close(kernel: Netlink, connections: Sequence[Connection], mark: int) -> int:
    """Set the bits `mark` in the connections' marks and let them expire in a quarter of an hour, whatever is sent.

    One that were ended instead would begin anew, the other way round, with the next packet of its other end: the
    kernel takes up TCP connections in their middle. Returns how many were there. Raises NetlinkError.
    """
    bits = struct.pack("!I", mark)
    return _each(
        kernel,
        [
            Request(
                _NEW,
                0,
                _addressed(connection)
                + netlink.attribute(_TIMEOUT, struct.pack("!I", _CLOSED_S))
                + netlink.attribute(_STATUS, struct.pack("!I", connection.status | _ALIVE | _FIXED_TIMEOUT))
                + netlink.attribute(_MARK, bits)
                + netlink.attribute(_MARK_MASK, bits),
            )
            for connection in connections
            if not connection.status & _FIXED_TIMEOUT
        ],
    )


def _addressed(connection: Connection) -> bytes:
    return _HEADER.pack(connection.family, 0, 0) + connection.key


def _each(kernel: Netlink, requests: Sequence[Request]) -> int:
    """Carry out the requests and return how many found their connection."""
    done = 0
    for error in kernel.attempt(requests):
        if error is None:
            done += 1
        elif error.errno != errno.ENOENT:
            raise error
    return done


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
    (status,) = struct.unpack("!I", said.get(_STATUS, bytes(4)))
    return Connection(_direction(said[_ORIGINAL]), _direction(said[_REPLY]), key, status)


def _direction(payload: bytes) -> Direction:
    said = netlink.attributes(payload)
    ip = netlink.attributes(said[_TUPLE_IP])
    proto = netlink.attributes(said[_TUPLE_PROTO])
    return Direction(
        source=_address(ip, _IP_SOURCE, _IP6_SOURCE),
        destination=_address(ip, _IP_DESTINATION, _IP6_DESTINATION),
        protocol=proto[_PROTO_NUMBER][0],
        source_port=int.from_bytes(proto.get(_PROTO_SOURCE, b""), "big"),
        destination_port=int.from_bytes(proto.get(_PROTO_DESTINATION, b""), "big"),
    )


def _address(ip: dict[int, bytes], four: int, six: int) -> IPAddress:
    return IPv4Address(ip[four]) if four in ip else IPv6Address(ip[six])
