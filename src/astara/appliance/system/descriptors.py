"""File descriptors that live long are numbered high, because some libraries cannot use high numbers.

libnftables waits with select(2), which aborts the process for a descriptor above 1023. A node with a thousand instances
holds thousands; as long as those have high numbers, the low ones are free for what comes and goes.
"""

from __future__ import annotations

import fcntl
import os
import resource
import socket

_LOWEST = 2048


def raise_limit() -> int:
    """Allow this process as many descriptors as it may have; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def lifted(handle: int) -> int:
    """Return a high-numbered descriptor of the same open file and close `handle`; `handle` itself if there is none."""
    try:
        high = fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, _LOWEST)
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
