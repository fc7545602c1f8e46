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


@dataclass(frozen=True, slots=True)
class Tcp:
    """What the kernel remembers of a TCP connection: its state (TCP_CONNTRACK_*), window scales and flags."""

    state: int
    scale_original: int
    scale_reply: int
    flags_original: int
    flags_reply: int


@dataclass(frozen=True, slots=True)
class Tracked:
    """All of a connection that another kernel must be told to go on with it. `status`: IPS_* bits."""

    original: Direction
    reply: Direction
    status: int
    timeout_s: int
    mark: int = 0
    zone: int = 0
    labels: bytes = b""
    tcp: Tcp | None = None


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


def tracked(kernel: Netlink) -> list[Tracked]:
    """Return the connections of this namespace as another may be told of them: TCP, UDP, SCTP and DCCP.

    Raises NetlinkError.
    """
    found = (_tracked(netlink.attributes(answer, 4)) for answer in kernel.dump(_GET, _HEADER.pack(_ANY, 0, 0)))
    return [one for one in found if one.original.protocol in _WITH_PORTS]


def restore(kernel: Netlink, connections: Sequence[Tracked]) -> int:
    """Make the connections known here; what is translated is translated the same, what is known already stays.

    Returns how many were made; refused ones are left out.
    """
    return sum(error is None for error in kernel.attempt([_copy(one) for one in connections]))


def _tracked(said: dict[int, bytes]) -> Tracked:
    return Tracked(
        original=_direction(said[_ORIGINAL]),
        reply=_direction(said[_REPLY]),
        status=_number(said, _STATUS),
        timeout_s=_number(said, _TIMEOUT),
        mark=_number(said, _MARK),
        zone=int.from_bytes(said.get(_ZONE, b""), "big"),
        labels=said.get(_LABELS, b""),
        tcp=_tcp(said[_PROTOINFO]) if _PROTOINFO in said else None,
    )


def _number(said: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(said.get(kind, b""), "big")


def _copy(one: Tracked) -> Request:
    status = (one.status & ~_NOT_COPIED) | _CONFIRMED
    body = _HEADER.pack(_INET if one.original.source.version == 4 else _INET6, 0, 0)
    body += _tuple(_ORIGINAL, one.original)
    # The kernel works the answers' direction out of the translation: it wants it as it was before.
    body += _tuple(_REPLY, _answers_to(one.original) if one.status & _TRANSLATED else one.reply)
    body += netlink.attribute(_STATUS, struct.pack("!I", status))
    body += netlink.attribute(_TIMEOUT, struct.pack("!I", one.timeout_s))
    if one.mark:
        body += netlink.attribute(_MARK, struct.pack("!I", one.mark))
    if one.zone:
        body += netlink.attribute(_ZONE, struct.pack("!H", one.zone))
    if one.labels:
        body += netlink.attribute(_LABELS, one.labels)
    if one.status & _DST_NAT:
        body += _translation(_NAT_DESTINATION, one.reply.source, one.reply.source_port)
    if one.status & _SRC_NAT:
        body += _translation(_NAT_SOURCE, one.reply.destination, one.reply.destination_port)
    if one.tcp is not None:
        body += _liberal(one.tcp)
    return Request(_NEW, netlink.CREATE | netlink.EXCLUSIVE, body)


def _answers_to(one: Direction) -> Direction:
    return Direction(one.destination, one.source, one.protocol, one.destination_port, one.source_port)


def _tuple(kind: int, way: Direction) -> bytes:
    four = way.source.version == 4
    source, destination = (_IP_SOURCE, _IP_DESTINATION) if four else (_IP6_SOURCE, _IP6_DESTINATION)
    ip = netlink.attribute(source, way.source.packed) + netlink.attribute(destination, way.destination.packed)
    proto = netlink.attribute(_PROTO_NUMBER, bytes([way.protocol]))
    proto += netlink.attribute(_PROTO_SOURCE, struct.pack("!H", way.source_port))
    proto += netlink.attribute(_PROTO_DESTINATION, struct.pack("!H", way.destination_port))
    return netlink.nested(kind, netlink.nested(_TUPLE_IP, ip), netlink.nested(_TUPLE_PROTO, proto))


def _translation(kind: int, address: IPAddress, port: int) -> bytes:
    first, last = (_NAT_FROM_4, _NAT_TO_4) if address.version == 4 else (_NAT_FROM_6, _NAT_TO_6)
    ports = [netlink.attribute(which, struct.pack("!H", port)) for which in (_NAT_FIRST_PORT, _NAT_LAST_PORT)]
    addresses = [netlink.attribute(which, address.packed) for which in (first, last)]
    return netlink.nested(kind, *addresses, netlink.nested(_NAT_PORTS, *ports))


def _tcp(info: bytes) -> Tcp | None:
    said = netlink.attributes(netlink.attributes(info).get(_TCP_INFO, b""))
    if _TCP_STATE not in said:
        return None
    scales = (_TCP_SCALE_ORIGINAL, _TCP_SCALE_REPLY)
    flags = (_TCP_FLAGS_ORIGINAL, _TCP_FLAGS_REPLY)
    numbers = [said[kind][0] if kind in said else 0 for kind in (_TCP_STATE, *scales, *flags)]
    return Tcp(*numbers)


def _liberal(tcp: Tcp) -> bytes:
    kept = (
        (_TCP_STATE, [tcp.state]),
        (_TCP_SCALE_ORIGINAL, [tcp.scale_original]),
        (_TCP_SCALE_REPLY, [tcp.scale_reply]),
        (_TCP_FLAGS_ORIGINAL, [tcp.flags_original | _LIBERAL, 0xFF]),
        (_TCP_FLAGS_REPLY, [tcp.flags_reply | _LIBERAL, 0xFF]),
    )
    return netlink.nested(
        _PROTOINFO, netlink.nested(_TCP_INFO, *(netlink.attribute(kind, bytes(value)) for kind, value in kept))
    )


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
