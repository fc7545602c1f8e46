"""A root shell on the machine's second serial line, for the node's root, where the node is told to have one.

The other end is a unix socket only the node's root may open; who may has the machine's memory anyway. It is no
terminal: lines go in, what they say comes out, nothing is echoed.
"""

from __future__ import annotations

import os
import threading
import tty

_LINE = "/dev/ttyS1"
_PAUSE_S = 0.5
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/"}


def offer() -> None:
    """Start, in a process of its own, what keeps a shell on the line. Raises OSError."""
    if os.fork() == 0:
        try:
            _serve()
        finally:
            os._exit(1)


def _serve() -> None:
    os.setsid()
    handle = os.open(_LINE, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(handle)
    pause = threading.Event()
    while True:
        shell = os.fork()
        if shell == 0:
            for standard in (0, 1, 2):
                os.dup2(handle, standard)
            os.execve("/bin/sh", ["sh"], _ENVIRONMENT)  # noqa: S606 - it is one
        os.waitpid(shell, 0)
        pause.wait(_PAUSE_S)
