"""Closing what takes the kernel long to close, from a thread of its own.

Closing any netfilter socket waits for everything nftables still has to destroy in that namespace: 10 to 20 ms after a
transaction that removed something (nft_rcv_nl_event in the kernel). Nobody who waits for an answer should.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from astara.appliance.system import netns

#: The kernel's grace periods are shared: several threads wait no longer than one.
_THREADS = 8
#: What waits to be closed holds descriptors.
_LONGEST = 256


class Closer:
    """A few background threads, started on first use. Who comes when the queue is full closes by himself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._started = False

    def later(self, close: Callable[[], None]) -> None:
        """Call `close`, soon, elsewhere. It must not raise."""
        with self._lock:
            if not self._started:
                self._started = True
                for number in range(_THREADS):
                    threading.Thread(target=self._run, name=f"closer-{number}", daemon=True).start()
        if self._queue.qsize() < _LONGEST:
            self._queue.put(close)
        else:
            close()

    def _run(self) -> None:
        netns.leave()  # who came first was in an instance's namespace
        while True:
            self._queue.get()()


#: One for the process: what is closed here belongs to nobody any more.
CLOSER = Closer()
