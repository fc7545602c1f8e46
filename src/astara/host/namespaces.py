"""Named network namespaces, made and removed by system calls alone. Names as `ip netns` shows them."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import socket
import struct
import threading
from pathlib import Path

from astara.appliance.system import netns

RUN = Path("/run/netns")
PREFIX = "astara-"
_NAME = re.compile(PREFIX + r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED, _MNT_DETACH = 0x1000, 0x4000, 1 << 20, 2
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_libc = ctypes.CDLL(None, use_errno=True)


def path_of(instance_id: str) -> Path:
    return RUN / f"{PREFIX}{instance_id}"


def ids_present() -> set[str]:
    """Return the instance ids for which a namespace path of ours exists; other names with our prefix are not ours."""
    try:
        names = os.listdir(RUN)  # noqa: PTH208  # there may be thousands
    except FileNotFoundError:
        return set()
    return {found[1] for name in names if (found := _NAME.fullmatch(name)) is not None}


def ensure(instance_id: str) -> bool:
    """Make the namespace of an instance unless it lives; return whether it was made.

    Loopback is up, and links added later start without IPv6: a link gets it when its configuration says so.
    """
    path = path_of(instance_id)
    if netns.exists(path):
        return False
    remove(instance_id)  # a path whose namespace is gone
    failure: list[BaseException] = []
    maker = threading.Thread(target=_make, args=(path, failure), name="netns")
    maker.start()
    maker.join()
    if failure:
        raise failure[0]
    return True


def remove(instance_id: str) -> None:
    """Take the name away; the namespace ends when the last process and socket inside have. Absence is success."""
    path = path_of(instance_id)
    if _libc.umount2(bytes(path), _MNT_DETACH) != 0 and ctypes.get_errno() not in (errno.EINVAL, errno.ENOENT):
        raise _os_error(path)
    path.unlink(missing_ok=True)


def prepare_directory() -> None:
    """Make /run/netns a shared mount, as `ip netns` does, so that every mount namespace sees what we add."""
    RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    if _mount(b"", RUN, _MS_SHARED | _MS_REC) == errno.EINVAL:
        if _mount(bytes(RUN), RUN, _MS_BIND | _MS_REC):
            raise _os_error(RUN)
        if _mount(b"", RUN, _MS_SHARED | _MS_REC):
            raise _os_error(RUN)


def _make(path: Path, failure: list[BaseException]) -> None:
    """Runs in a thread that ends afterwards, so nobody has to come back from the new namespace."""
    try:
        path.touch(mode=0o444)
        if _libc.unshare(_CLONE_NEWNET) != 0:
            raise _os_error(path)
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        _loopback_up()
        if _mount(b"/proc/thread-self/ns/net", path, _MS_BIND):
            raise _os_error(path)
    except BaseException as error:  # noqa: BLE001  # carried over to the caller's thread
        path.unlink(missing_ok=True)
        failure.append(error)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        request = struct.pack("16sH14x", b"lo", _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def _mount(source: bytes, target: Path, flags: int) -> int:
    """Return 0 or the errno."""
    if _libc.mount(source, bytes(target), b"none", ctypes.c_ulong(flags), None) != 0:
        return ctypes.get_errno()
    return 0


def _os_error(path: Path) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), str(path))
