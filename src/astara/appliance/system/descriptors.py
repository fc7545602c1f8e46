"""File descriptors low and high: a library that cannot use high ones gets low ones, what lives long is numbered high.

libnftables waits with select(2), which aborts the process for a descriptor above 1023. A node with a thousand instances
holds thousands; as long as those have high numbers, the low ones are free for what comes and goes, and a few low ones
are kept in reserve.
"""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PATIENCE_S = 5.0
_LOWEST_OF_THE_HIGH = 2048


class NoneFree(OSError):
    """All reserved descriptors are in use, or were lost to somebody faster."""


class LowDescriptors:
    """Holds `reserved` descriptors from the time of import on, when few files are open.

    The kernel always gives the lowest free one: whoever opens something right after we let go of one gets it.
    """

    def __init__(self, reserved: int, highest: int) -> None:
        self._highest = highest
        self._held = [_hold() for _ in range(reserved)]
        self._changed = threading.Condition()

    def borrow(self, make: Callable[[], T]) -> T:
        """Return what `make` opens, on a low descriptor. Raises NoneFree after some seconds without any."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._held, _PATIENCE_S):
                raise NoneFree(f"no descriptor below {self._highest} is free; close files or restart the agent")
            os.close(self._held.pop())
            return make()

    def give_back(self) -> None:
        """Say that what was borrowed has been closed."""
        with self._changed:
            handle = _hold()
            if handle > self._highest:
                os.close(handle)  # somebody was faster; one less in reserve
            else:
                self._held.append(handle)
            self._changed.notify()


def _hold() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def raise_limit() -> int:
    """Allow this process as many descriptors as it may have; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def lifted(handle: int) -> int:
    """Return a high-numbered descriptor of the same open file and close `handle`; `handle` itself if there is none."""
    try:
        high = fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, _LOWEST_OF_THE_HIGH)
    except OSError:  # the limit is low: then there are not thousands either
        return handle
    os.close(handle)
    return high


def lifted_socket(low: socket.socket) -> socket.socket:
    """Return the same socket under a high number; `low` is not usable afterwards."""
    timeout = low.gettimeout()
    high = socket.socket(fileno=lifted(low.detach()))
    high.settimeout(timeout)
    return high
