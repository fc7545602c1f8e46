"""Questions and answers between network namespaces: who answers at an address, and as whom are we seen.

Everything is measured with fresh sockets, so that every packet is a new flow: no state of an earlier connection can
make a broken rule set look whole.
"""

from __future__ import annotations

import itertools
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from astara_lab.namespaces import socket_within, within

PORT = 7000
_TIMEOUT_S = 0.25


@dataclass(frozen=True, slots=True)
class Answer:
    """Who answered, and the source address the question arrived from."""

    name: str
    seen_as: str


class Voices:
    """Answers UDP and TCP questions in several network namespaces with a name, from one thread, until `close`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._closed = threading.Event()
        self._wake, wake = socket.socketpair()
        self._selector.register(wake, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._serve, name="voices", daemon=True)
        self._thread.start()

    def speak(self, netns: str, name: str, port: int = PORT) -> None:
        """Answer as `name` to everything that reaches the namespace on `port`, IPv4 and IPv6."""
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            sock = socket_within(netns, socket.AF_INET6, kind)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("::", port))
            if kind == socket.SOCK_STREAM:
                sock.listen()
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, name)
        self._wake.send(b"x")

    def close(self) -> None:
        self._closed.set()
        self._wake.send(b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()
        self._wake.close()

    def _serve(self) -> None:
        while not self._closed.is_set():
            for key, _ in self._selector.select():
                assert isinstance(key.fileobj, socket.socket)
                if key.data is None:
                    key.fileobj.recv(64)
                else:
                    _answer(key.fileobj, key.data)


def _answer(sock: socket.socket, name: str) -> None:
    try:
        if sock.type == socket.SOCK_DGRAM:
            _, peer = sock.recvfrom(64)
            sock.sendto(_words(name, peer[0]), peer)
        else:
            connection, peer = sock.accept()
            with connection:
                connection.sendall(_words(name, peer[0]))
    except OSError:
        return  # the asker went away, or the way back is cut: that is what is being measured


def _words(name: str, peer: str) -> bytes:
    return f"{name} {peer.removeprefix('::ffff:')}".encode()


def ask(
    netns: str, address: str, port: int = PORT, *, tcp: bool = False, timeout_s: float = _TIMEOUT_S
) -> Answer | None:
    """Ask once from inside `netns`; None when nobody answers in time."""
    return within(netns, lambda: ask_here(address, port, tcp=tcp, timeout_s=timeout_s))


def ask_here(address: str, port: int = PORT, *, tcp: bool = False, timeout_s: float = _TIMEOUT_S) -> Answer | None:
    """Ask from the calling thread's network namespace."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect((address, port))
            if not tcp:
                sock.send(b"?")
            said = sock.recv(256).decode()
        except OSError:
            return None
    name, _, seen_as = said.partition(" ")
    return Answer(name, seen_as) if name else None


@dataclass(slots=True)
class Watch:
    """What a series of questions met: when each was answered (monotonic seconds), and how many were not."""

    answered: list[float] = field(default_factory=list)
    lost: int = 0

    def gap_since(self, at: float) -> float:
        """Return the longest time without an answer after `at`, in seconds."""
        times = [at, *(moment for moment in self.answered if moment >= at)]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)

    def answered_since(self, at: float) -> int:
        return sum(moment >= at for moment in self.answered)


class Watcher:
    """Asks one question again and again from inside a namespace while something else happens."""

    def __init__(self, netns: str, question: Callable[[], bool], every_s: float = 0.01) -> None:
        self.watch = Watch()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=within, args=(netns, lambda: self._ask(question, every_s)), name=f"watch-{netns}", daemon=True
        )

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self, question: Callable[[], bool], every_s: float) -> None:
        while not self._stop.is_set():
            if question():
                self.watch.answered.append(time.monotonic())
            else:
                self.watch.lost += 1
            self._stop.wait(every_s)


def dns_question(server: str, name: str) -> Callable[[], bool]:
    """Return a question that asks `server` for the A record of `name` (RFC 1035) and is content with any answer."""
    query = b"\xa5\x5a\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + _labels(name.split(".")) + b"\x00\x01\x00\x01"

    def question() -> bool:
        with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_TIMEOUT_S)
            try:
                sock.connect((server, 53))
                sock.send(query)
                return sock.recv(512)[:2] == query[:2]
            except OSError:
                return False

    return question


def _labels(parts: Sequence[str]) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in parts if part) + b"\0"
