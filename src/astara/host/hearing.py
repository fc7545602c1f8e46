"""What the kernel offers for hearing of changes: netlink over all namespaces, and inotify.

Layouts: netlink(7), inotify(7), include/uapi/linux/net_namespace.h, socket(7) for the filter.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from pathlib import Path

from astara.appliance.system import netlink
from astara.appliance.system.netlink import Request
from astara.host import links

NO_NSID = -1
NETNSA_NSID = 1
IN_Q_OVERFLOW = 0x4000
_libc = ctypes.CDLL(None, use_errno=True)
_IN_DELETE, _IN_CLOEXEC = 0x200, 0o2000000
_SOL_NETLINK, _ADD_MEMBERSHIP, _LISTEN_ALL_NSID = 270, 1, 8
_SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 33, 26
_BUFFER_BYTES = 4 * 1024 * 1024
_NEWNSID, _GETNSID, _NETNSA_FD = 88, 90, 3
_ANY = struct.pack("=i", -1)  # none given yet
_NFT_NEWGEN = (10 << 8) | 15


def nsid_of(path: Path | None) -> int | None:
    """Return the id by which the node's namespace knows this one, giving it one; None when it is gone."""
    if path is None:
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    body = b"\0" * 4 + netlink.u32(_NETNSA_FD, handle)
    asking = links.Asking()
    try:
        with asking:
            known = _known_nsid(asking, body)
            if known is None:
                asking.attempt([Request(_NEWNSID, 0, body + netlink.attribute(NETNSA_NSID, _ANY))])
                known = _known_nsid(asking, body)
            return known
    except OSError:
        return None
    finally:
        os.close(handle)


def _known_nsid(asking: links.Asking, body: bytes) -> int | None:
    answer = asking.one(Request(_GETNSID, 0, body))
    found = netlink.attributes(answer or b"", 4).get(NETNSA_NSID, _ANY)
    return None if found == _ANY else int(struct.unpack("=i", found)[0])


def listening(protocol: int, groups: tuple[int, ...], *, everywhere: bool) -> socket.socket:
    """Return a socket that hears `groups`, of every namespace that has an id here or of the agent's own alone."""
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    if everywhere:
        listener.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)
    if protocol == netlink.NETFILTER:
        _only_new_generations(listener)
    listener.bind((0, 0))
    for group in groups:
        listener.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    return listener


def _only_new_generations(listener: socket.socket) -> None:
    """Each nftables transaction ends in one NFT_MSG_NEWGEN; the thousands of elements before it stay in the kernel.

    A classic BPF program on the message type at offset 4, which BPF reads in network byte order (socket(7)).
    """
    wanted = socket.htons(_NFT_NEWGEN)
    program = [(0x28, 0, 0, 4), (0x15, 0, 1, wanted), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0)]
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code)
    filter_program = struct.pack("HP", len(program), ctypes.addressof(buffer))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_program)


def nsid_in(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == _SOL_NETLINK and kind == _LISTEN_ALL_NSID:
            return int(struct.unpack_from("=i", data)[0])
    return NO_NSID


def inotify_on(directory: Path) -> int:
    handle = int(_libc.inotify_init1(_IN_CLOEXEC))
    if handle < 0 or _libc.inotify_add_watch(handle, bytes(directory), _IN_DELETE) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"inotify: {os.strerror(code)}; raise fs.inotify.max_user_instances", str(directory))
    return handle


def inotify_events(data: bytes) -> list[tuple[int, str]]:
    events = []
    start = 0
    while start + 16 <= len(data):
        _, mask, _, length = struct.unpack_from("=iIII", data, start)
        events.append((mask, data[start + 16 : start + 16 + length].rstrip(b"\0").decode(errors="replace")))
        start += 16 + length
    return events
