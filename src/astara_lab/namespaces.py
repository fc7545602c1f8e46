"""Linux namespaces by system call: entering them, and doing one thing inside a network namespace.

Python 3.11 has no os.setns; ctypes on the C library is the whole of it. See setns(2), namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

NETNS_DIRECTORY = Path("/run/netns")

_libc = ctypes.CDLL(None, use_errno=True)


def setns(fd: int, kind: int) -> None:
    """Moves the calling thread (for CLONE_NEWPID: its future children) into a namespace. Raises OSError."""
    if _libc.setns(fd, kind) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


def enter_process(pid: int, kinds: Iterable[tuple[str, int]]) -> None:
    """Joins namespaces of another process. The caller must have one thread only (a rule of CLONE_NEWNS)."""
    opened = [(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind) for name, kind in kinds]
    try:
        for fd, kind in opened:
            setns(fd, kind)
    finally:
        for fd, _ in opened:
            os.close(fd)


def within(netns: str, work: Callable[[], T]) -> T:
    """Runs `work` in the named network namespace and returns its result; sockets made there stay there.

    A thread of its own changes over and ends afterwards, so the caller's namespace never changes.
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
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
            failure.append(error)

    thread = threading.Thread(target=body, name=f"netns-{netns}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def socket_within(netns: str, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
    """A socket that belongs to the named network namespace, usable from any thread."""
    return within(netns, lambda: socket.socket(family, kind))
