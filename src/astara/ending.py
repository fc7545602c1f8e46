"""Asked to end by a signal, whatever moment it comes at."""

from __future__ import annotations

import signal
import socket

_ASK = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """Hears SIGTERM and SIGINT from when it is made, which only the main thread may.

    Through a descriptor, which the interpreter writes to before any Python runs. A handler in Python runs in the thread
    that waits: one that sets an Event may wait, for ever, for the lock of the wait() it came into, and none runs at all
    for a signal that comes in the moment before that thread goes to sleep on a lock.
    """

    def __init__(self) -> None:
        self._heard, self._told = socket.socketpair()
        self._told.setblocking(False)
        signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        for signum in _ASK:
            signal.signal(signum, lambda *_: None)

    def wait(self) -> None:
        """Return once asked, also when that was before."""
        while not set(self._heard.recv(64)) & set(_ASK):
            pass
