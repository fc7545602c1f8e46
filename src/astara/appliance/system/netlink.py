"""Netlink messages over a plain socket: requests, dumps and batches.

Why not pyroute2 here: opening its IPRoute costs 0.5 ms and a dump 0.4 ms and more, this 0.01 and 0.03 ms, and an
apply needs a dozen of them (docs/decisions/0004). Formats: RFC 3549 and the kernel's include/uapi/linux/netlink.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

from astara.appliance.system.closing import CLOSER

ROUTE = 0
NETFILTER = 12

REQUEST = 0x01
ACK = 0x04
DUMP = 0x300
REPLACE = 0x100
EXCLUSIVE = 0x200
CREATE = 0x400

_DONE = 3
_ERROR = 2
_INTERRUPTED = 0x10
_CAPPED = 0x100
_WITH_ATTRIBUTES = 0x200
_SOL_NETLINK = 270
_CAP_ACK = 10
_EXT_ACK = 11
_STRICT = 12
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_RECEIVE_BYTES = 65536
#: Requests per send: their acknowledgements must fit into the socket's receive buffer.
_BATCH = 64
#: What fits into a socket's default send buffer; root may raise it (SO_SNDBUFFORCE).
_SEND_BYTES = 100_000
_SEND_BUFFER_FORCE = 32
_DUMP_ATTEMPTS = 10
#: struct timeval; a socket with a timeout of Python's own is polled before each of a hundred receptions.
_TIMEOUT = struct.pack("@ll", 10, 0)


class NetlinkError(OSError):
    """The kernel refused; `strerror` holds its own explanation when it gave one."""


@dataclass(frozen=True, slots=True)
class Request:
    """One message: `kind` is e.g. RTM_NEWADDR, `body` the family header and the attributes."""

    kind: int
    flags: int
    body: bytes


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(attributes))


def u32(kind: int, number: int) -> bytes:
    """Return an attribute that holds 32 bits in host order."""
    return attribute(kind, struct.pack("=I", number))


def text(kind: int, words: str) -> bytes:
    """Return an attribute that holds a zero-terminated string."""
    return attribute(kind, words.encode() + b"\0")


def attributes(body: bytes, start: int = 0) -> dict[int, bytes]:
    """Return attribute type -> payload. A type that repeats keeps its last payload.

    Written out, not in terms of `attribute_list`: an apply reads two thousand attributes.
    """
    found = {}
    unpack = _ATTRIBUTE.unpack_from
    last = len(body) - 4
    while start <= last:
        length, kind = unpack(body, start)
        if length < 4:
            break
        found[kind & _TYPE_MASK] = body[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


def attribute_list(body: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (type, payload) in order."""
    end = len(body)
    while start + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(body, start)
        if length < 4:
            return
        yield kind & _TYPE_MASK, body[start + 4 : start + length]
        start += (length + 3) & ~3


def raw_attributes(body: bytes, start: int) -> dict[int, bytes]:
    """Return attribute type -> the whole attribute as it stands, padded, in order."""
    found = {}
    end = len(body)
    while start + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(body, start)
        if length < 4:
            break
        following = start + ((length + 3) & ~3)
        found[kind & _TYPE_MASK] = body[start:following]
        start = following
    return found


class Netlink:
    """One socket in the calling thread's network namespace. Use as a context manager; one thread at a time."""

    def __init__(self, protocol: int = ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        if protocol == ROUTE:
            self._socket.setsockopt(_SOL_NETLINK, _STRICT, 1)  # the kernel filters dumps by what the request says
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
        self._socket.bind((0, 0))
        self._sequence = 0
        self._slow_to_close = protocol == NETFILTER

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; of a netfilter socket, soon."""
        if not self._slow_to_close:
            self._socket.close()
            return
        handle = self._socket.detach()
        if handle >= 0:
            CLOSER.later(lambda: os.close(handle))

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """Return the bodies of all answers to a dump request. Raises NetlinkError."""
        for _ in range(_DUMP_ATTEMPTS):
            answers = self._dump_once(kind, body)
            if answers is not None:
                return answers
        raise NetlinkError(errno.EINTR, "the table changed during each of several dumps")

    def do(self, requests: Sequence[Request]) -> None:
        """Carry out all requests; raises the first NetlinkError after the kernel has seen them all."""
        for error in self.attempt(requests):
            if error is not None:
                raise error

    def attempt(self, requests: Sequence[Request]) -> list[NetlinkError | None]:
        """Carry out all requests and say for each how it went."""
        results: list[NetlinkError | None] = []
        for start in range(0, len(requests), _BATCH):
            results.extend(self._send_batch(requests[start : start + _BATCH]))
        return results

    def transaction(self, begin: Request, requests: Sequence[Request], end: Request) -> None:
        """Carry out all requests or none, between the messages that mark a batch (nfnetlink).

        Raises:
            NetlinkError: the first complaint; nothing has been done.
        """
        *before, last = requests
        first = self._sequence + 1
        acknowledged = Request(last.kind, last.flags | ACK, last.body)
        packed = b"".join(
            self._pack(request.kind, request.flags | REQUEST, request.body)
            for request in (begin, *before, acknowledged, end)
        )
        if len(packed) > _SEND_BYTES:
            self._socket.setsockopt(socket.SOL_SOCKET, _SEND_BUFFER_FORCE, 2 * len(packed))
        self._socket.send(packed)
        complaint = self._outcome(first, first + len(requests))
        if complaint is not None:
            raise complaint

    def _outcome(self, first: int, last: int) -> NetlinkError | None:
        """A complaint about the batch as a whole carries the number of its first message."""
        complaint: NetlinkError | None = None
        while True:
            for kind, flags, sequence, body in self._receive():
                if kind != _ERROR or not first <= sequence <= last:
                    continue
                complaint = complaint or _error_of(flags, body)
                if sequence == last or (sequence == first and complaint is not None):
                    return complaint

    def _send_batch(self, requests: Sequence[Request]) -> list[NetlinkError | None]:
        first = self._sequence + 1
        packed = b"".join(self._pack(request.kind, request.flags | REQUEST | ACK, request.body) for request in requests)
        self._socket.send(packed)
        results: dict[int, NetlinkError | None] = {}
        while len(results) < len(requests):
            for kind, flags, sequence, body in self._receive():
                if kind == _ERROR and sequence >= first:
                    results[sequence - first] = _error_of(flags, body)
        return [results[index] for index in range(len(requests))]

    def _dump_once(self, kind: int, body: bytes) -> list[bytes] | None:
        self._socket.send(self._pack(kind, REQUEST | DUMP, body))
        answers: list[bytes] = []
        interrupted = False
        while True:
            for answer, flags, sequence, content in self._receive():
                if sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(flags & _INTERRUPTED)
                if answer in (_ERROR, _DONE):
                    error = _error_of(flags, content)
                    if error is not None:
                        raise error
                    return None if interrupted else answers
                answers.append(content)

    def _pack(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence += 1
        return _HEADER.pack(16 + len(body), kind, flags, self._sequence, 0) + body + b"\0" * (-len(body) % 4)

    def _receive(self) -> list[tuple[int, int, int, bytes]]:
        """Return (kind, flags, sequence, body) of what comes next: a list, because a rule set is hundreds of these."""
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            raise TimeoutError(errno.ETIMEDOUT, "no answer from the kernel") from None
        found = []
        unpack = _HEADER.unpack_from
        start, last = 0, len(data) - 16
        while start <= last:
            length, kind, flags, sequence, _ = unpack(data, start)
            found.append((kind, flags, sequence, data[start + 16 : start + length]))
            start += (length + 3) & ~3
        return found


def _error_of(flags: int, body: bytes) -> NetlinkError | None:
    code = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
    if code == 0:
        return None
    words = os.strerror(code)
    if flags & _WITH_ATTRIBUTES and flags & _CAPPED:
        said = attributes(body, 4 + 16).get(1)  # NLMSGERR_ATTR_MSG
        if said is not None:
            words = f"{words}: {said.rstrip(bytes(1)).decode(errors='replace')}"
    return NetlinkError(code, words)
