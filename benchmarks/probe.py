"""A steady stream of small questions through one router, each of which must come back."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
from dataclasses import dataclass

from astara_lab.namespaces import socket_within

EVERY_S = 0.005
#: An answer may take that long after the last question before it counts as lost.
_LATE_S = 1.0
_PORT = 7099


@dataclass(frozen=True)
class Stream:
    """`gap_ms`: the longest time between two answers."""

    sent: int
    lost: int
    gap_ms: float


class Probe:
    """UDP from a tenant's machine through SNAT to `address` outside, every 5 ms, from `start` to `stop`."""

    def __init__(self, tenant_netns: str, outside_netns: str, address: str) -> None:
        self._echo = socket_within(outside_netns, socket.AF_INET, socket.SOCK_DGRAM)
        self._echo.bind((address, _PORT))
        self._asker = socket_within(tenant_netns, socket.AF_INET, socket.SOCK_DGRAM)
        self._asker.connect((address, _PORT))
        for sock in (self._echo, self._asker):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sock.settimeout(0.2)
        self._ended = threading.Event()
        self._quiet = threading.Event()
        self._sent = 0
        self._answers: dict[int, float] = {}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Ask from now on."""
        for work in (self._serve, self._listen, self._ask):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> Stream:
        """Ask no more, wait for what is on its way, and tell."""
        self._ended.set()
        self._threads[-1].join()
        self._quiet.wait(_LATE_S)
        self._quiet.set()
        for thread in self._threads:
            thread.join()
        self._echo.close()
        self._asker.close()
        times = sorted(self._answers.values())
        gap_s = max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)
        return Stream(self._sent, self._sent - len(self._answers), round(gap_s * 1000, 1))

    def _ask(self) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            with contextlib.suppress(OSError):  # counts as lost
                self._asker.send(struct.pack("!I", self._sent))
            self._sent += 1
            due += EVERY_S

    def _listen(self) -> None:
        while not self._quiet.is_set():
            try:
                (number,) = struct.unpack("!I", self._asker.recv(64))
            except OSError:
                continue
            self._answers.setdefault(number, time.monotonic())

    def _serve(self) -> None:
        while not self._quiet.is_set():
            try:
                said, peer = self._echo.recvfrom(64)
                self._echo.sendto(said, peer)
            except OSError:
                continue
