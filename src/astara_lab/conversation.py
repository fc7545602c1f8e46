"""Traffic through a router while something happens to it: UDP by the clock, one TCP connection. Needs root.

What is measured is what tenants would see; nothing here judges.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from astara_lab.namespaces import within

EVERY_S = 0.002


@dataclass
class Conversation:
    """What went through so far. Times are monotonic seconds."""

    sent: dict[int, float] = field(default_factory=dict)
    answered: dict[int, float] = field(default_factory=dict)
    #: Source address and port as the far end saw them: more than one is a translation that did not survive.
    seen_as: set[tuple[str, int]] = field(default_factory=set)
    tcp_answers: int = 0
    tcp_broken: str | None = None
    tcp_longest_s: float = 0.0

    @property
    def lost(self) -> int:
        return len(self.sent) - len(self.answered)

    @property
    def gap_s(self) -> float:
        """The longest time without an answer by UDP."""
        return self.gap_since(float("-inf"))

    def gap_since(self, moment: float) -> float:
        """As `gap_s`, from `moment` on."""
        times = sorted(at for at in self.answered.values() if at >= moment)
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)


def _udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


@contextlib.contextmanager
def conversation(near: str, far: str, far_address: str, port: int = 7) -> Iterator[Conversation]:
    """Talk from namespace `near` to `far` until the block ends; what was sent last has a second to be answered."""
    said = Conversation()
    over, quiet = threading.Event(), threading.Event()
    with contextlib.ExitStack() as stack:
        answering = stack.enter_context(within(far, _udp))
        answering.bind((far_address, port))
        listening = stack.enter_context(within(far, lambda: socket.create_server((far_address, port))))
        asking = stack.enter_context(within(near, _udp))
        asking.connect((far_address, port))
        talking = stack.enter_context(within(near, lambda: socket.create_connection((far_address, port), timeout=10)))
        served, _ = listening.accept()
        stack.enter_context(served)
        loops = (
            lambda: _answer(answering, said, over),
            lambda: _echo(served, over),
            lambda: _ask(asking, said, quiet),
            lambda: _hear(asking, said, over),
            lambda: _talk(talking, said, quiet),
        )
        threads = [threading.Thread(target=loop, daemon=True) for loop in loops]
        for thread in threads:
            thread.start()
        try:
            yield said
        finally:
            quiet.set()
            deadline = time.monotonic() + 1.0
            while said.lost and time.monotonic() < deadline:
                time.sleep(0.01)
            over.set()
            for thread in threads:
                thread.join(15)


def _ready(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0.1)[0])


def _answer(sock: socket.socket, said: Conversation, over: threading.Event) -> None:
    while not over.is_set():
        if _ready(sock):
            data, peer = sock.recvfrom(64)
            said.seen_as.add((str(peer[0]), int(peer[1])))
            sock.sendto(data, peer)


def _ask(sock: socket.socket, said: Conversation, quiet: threading.Event) -> None:
    number = 0
    while not quiet.wait(EVERY_S):
        said.sent[number] = time.monotonic()
        with contextlib.suppress(OSError):
            sock.send(str(number).encode())
        number += 1


def _hear(sock: socket.socket, said: Conversation, over: threading.Event) -> None:
    while not over.is_set():
        if _ready(sock):
            with contextlib.suppress(OSError):
                said.answered[int(sock.recv(64))] = time.monotonic()


def _echo(sock: socket.socket, over: threading.Event) -> None:
    while not over.is_set():
        if _ready(sock):
            data = sock.recv(64)
            if not data:
                return
            sock.sendall(data)


def _talk(sock: socket.socket, said: Conversation, quiet: threading.Event) -> None:
    while not quiet.wait(EVERY_S):
        began = time.monotonic()
        try:
            sock.sendall(b"x")
            if sock.recv(1) != b"x":
                raise ConnectionError("closed by the other side")
        except OSError as error:
            said.tcp_broken = str(error)
            return
        said.tcp_answers += 1
        said.tcp_longest_s = max(said.tcp_longest_s, time.monotonic() - began)
