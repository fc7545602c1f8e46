"""Linux namespaces by system call: entering them, and doing one thing inside a network namespace.

Python 3.11 has no os.setns; ctypes on the C library is the whole of it. See setns(2), namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000

NETNS_DIRECTORY = Path("/run/netns")

_libc = ctypes.CDLL(None, use_errno=True)


def setns(fd: int, kind: int) -> None:
    """Moves the calling thread (for CLONE_NEWPID: its future children) into a namespace. Raises OSError."""
    _check(_libc.setns(fd, kind), "setns")


def enter_process(pid: int, kinds: Iterable[tuple[str, int]]) -> None:
    """Joins namespaces of another process. The caller must have one thread only (a rule of CLONE_NEWNS)."""
    opened = [(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind) for name, kind in kinds]
    try:
        for fd, kind in opened:
            setns(fd, kind)
    finally:
        for fd, _ in opened:
            os.close(fd)


def within(netns: str, work: Callable[[], T], *, binds: Mapping[Path, Path] | None = None) -> T:
    """Runs `work` in the named network namespace and returns its result; sockets made there stay there.

    A thread of its own changes over and ends afterwards, so the caller's namespace never changes. With `binds`
    (file to show -> where) it gets mounts of its own too, among them a /sys that fits; processes inherit them.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            fd = os.open(NETNS_DIRECTORY / netns, os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(fd, CLONE_NEWNET)
            finally:
                os.close(fd)
            if binds is not None:
                _private_mounts(binds)
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
            failure.append(error)

    thread = threading.Thread(target=body, name=f"netns-{netns}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _private_mounts(binds: Mapping[Path, Path]) -> None:
    """For the calling thread only: unshare(2) with CLONE_NEWNS parts it from the process's root and mounts."""
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    _mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE)
    _mount(b"sysfs", b"/sys", b"sysfs", 0)
    for source, target in binds.items():
        _mount(os.fsencode(source), os.fsencode(target), None, _MS_BIND)


def _mount(source: bytes, target: bytes, kind: bytes | None, flags: int) -> None:
    _check(_libc.mount(source, target, kind, ctypes.c_ulong(flags), None), f"mount {target.decode()}")


def _check(status: int, what: str) -> None:
    if status != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def socket_within(netns: str, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
    """A socket that belongs to the named network namespace, usable from any thread."""
    return within(netns, lambda: socket.socket(family, kind))
