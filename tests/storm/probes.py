"""Steady questions through routers nobody touches. One thread asks each, one machine's threads answer.

A datagram without an answer within ten seconds is lost; one that is late is late: on a busy machine whoever answers
may have to wait for a processor, and that is no router's fault. UDP questions are a new flow each
(`fresh`), so that connection tracking cannot carry them over a hole in the rules, or one long flow.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from astara_lab.namespaces import socket_within, within

PATIENCE_S = 10.0
#: A shorter time without an answer is no silence worth telling.
SILENCE_S = 0.25
PORT = 7007
_BUFFER = 4 << 20
_MESSAGE = struct.Struct("!Q")
#: linux/tcp.h, struct tcp_info: tcpi_total_retrans stands at byte 100.
_TCP_INFO, _RETRANSMITTED = 11, slice(100, 104)


@dataclass(frozen=True, slots=True)
class Question:
    """`source` is the asking machine's namespace."""

    name: str
    router: str
    netns: str
    address: str
    kind: str  # "fresh", "flow" or "tcp"


@dataclass(slots=True)
class Outcome:
    """`lost_at`: monotonic seconds at which what was lost had been sent. `broken`: why a TCP connection ended.

    `silences`: from when (monotonic seconds) and for how long nothing was answered, of at least SILENCE_S.
    """

    sent: int = 0
    answered: int = 0
    slowest_s: float = 0.0
    lost_at: list[float] = field(default_factory=list)
    retransmitted: int = 0
    broken: str = ""
    silences: list[tuple[float, float]] = field(default_factory=list)
    heard_at: float = 0.0

    def answer(self, sent_at: float) -> None:
        """Count an answer to what was sent then."""
        now = time.monotonic()
        self.answered += 1
        self.slowest_s = max(self.slowest_s, now - sent_at)
        if self.heard_at and now - self.heard_at >= SILENCE_S:
            self.silences.append((self.heard_at, now - self.heard_at))
        self.heard_at = now


class Probe:
    """Asks until `stop`."""

    def __init__(self, question: Question, every_s: float, stream_patience_s: float = 2 * PATIENCE_S) -> None:
        self.question = question
        self.outcome = Outcome()
        self._patience_s = stream_patience_s
        self._every_s = every_s
        self._ending = threading.Event()
        body = self._stream if question.kind == "tcp" else self._datagrams
        self._thread = threading.Thread(
            target=within, args=(question.netns, body), name=f"probe-{question.name}", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()

    def join(self) -> None:
        self._thread.join(max(2 * PATIENCE_S, self._patience_s))

    # -- datagrams

    def _datagrams(self) -> None:
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            waiting: deque[tuple[int, float, socket.socket]] = deque()
            open_until: dict[int, tuple[float, socket.socket]] = {}
            long_flow = None if self.question.kind == "fresh" else stack.enter_context(self._flow(selector))
            due = time.monotonic()
            number = 0
            while waiting or not self._ending.is_set():
                now = time.monotonic()
                if now >= due and not self._ending.is_set():
                    number += 1
                    flow = long_flow or self._flow(selector)
                    open_until[number] = (now, flow)
                    waiting.append((number, now, flow))
                    self._send(flow, number)
                    due = max(due + self._every_s, now - 0.1)
                wait_s = max(0.0, due - time.monotonic()) if not self._ending.is_set() else 0.05
                self._hear(selector, wait_s, open_until, keep=long_flow)
                self._give_up(selector, waiting, open_until, keep=long_flow)

    def _flow(self, selector: selectors.BaseSelector) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.question.address else socket.AF_INET
        flow = socket.socket(family, socket.SOCK_DGRAM)
        flow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        flow.setblocking(False)
        flow.connect((self.question.address, PORT))
        selector.register(flow, selectors.EVENT_READ)
        return flow

    def _send(self, flow: socket.socket, number: int) -> None:
        self.outcome.sent += 1
        with contextlib.suppress(OSError):  # no route, refused: counts as lost when no answer comes
            flow.send(_MESSAGE.pack(number))

    def _hear(
        self,
        selector: selectors.BaseSelector,
        wait_s: float,
        open_until: dict[int, tuple[float, socket.socket]],
        *,
        keep: socket.socket | None,
    ) -> None:
        for key, _ in selector.select(wait_s):
            flow = key.fileobj
            assert isinstance(flow, socket.socket)
            with contextlib.suppress(OSError):
                while True:
                    number = _MESSAGE.unpack(flow.recv(64)[: _MESSAGE.size])[0]
                    sent = open_until.pop(number, None)
                    if sent is None:
                        continue
                    self.outcome.answer(sent[0])
                    if flow is not keep:
                        selector.unregister(flow)
                        flow.close()
                        break

    def _give_up(
        self,
        selector: selectors.BaseSelector,
        waiting: deque[tuple[int, float, socket.socket]],
        open_until: dict[int, tuple[float, socket.socket]],
        *,
        keep: socket.socket | None,
    ) -> None:
        while waiting and (waiting[0][0] not in open_until or time.monotonic() - waiting[0][1] > PATIENCE_S):
            number, sent_at, flow = waiting.popleft()
            if open_until.pop(number, None) is not None:
                self.outcome.lost_at.append(sent_at)
                if flow is not keep:
                    selector.unregister(flow)
                    flow.close()

    # -- one connection

    def _stream(self) -> None:
        outcome = self.outcome
        try:
            with socket.create_connection((self.question.address, PORT), timeout=self._patience_s) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while not self._ending.wait(self._every_s):
                    outcome.sent += 1
                    began = time.monotonic()
                    connection.sendall(_MESSAGE.pack(outcome.sent))
                    if _exactly(connection, _MESSAGE.size) != _MESSAGE.pack(outcome.sent):
                        raise ConnectionError("another answer than what was said")
                    outcome.answer(began)
                info = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 104)
                outcome.retransmitted = int.from_bytes(info[_RETRANSMITTED], "little")
        except OSError as error:
            outcome.broken = str(error) or type(error).__name__
            outcome.lost_at.append(time.monotonic())


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError("closed by the other side")
        data += more
    return data


class Echo:
    """Sends back what it hears, UDP and TCP, IPv4 and IPv6, from one thread for all machines."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, wake = socket.socketpair()
        self._selector.register(wake, selectors.EVENT_READ, "end")
        self._thread = threading.Thread(target=self._serve, name="echo", daemon=True)

    def speak(self, netns: str) -> None:
        """Listen in one more namespace; before `start`."""
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            listener = socket_within(netns, socket.AF_INET6, kind)
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if kind == socket.SOCK_DGRAM:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            listener.bind(("::", PORT))
            if kind == socket.SOCK_STREAM:
                listener.listen()
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ, "udp" if kind == socket.SOCK_DGRAM else "listener")

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._wake.send(b"x")
        self._thread.join(PATIENCE_S)
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()
        self._wake.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data == "end":
                    return
                assert isinstance(key.fileobj, socket.socket)
                with contextlib.suppress(OSError):
                    self._answer(key.fileobj, key.data)

    def _answer(self, sock: socket.socket, kind: str) -> None:
        if kind == "listener":
            connection, _ = sock.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(connection, selectors.EVENT_READ, "stream")
        elif kind == "stream":
            data = sock.recv(65536)
            if data:
                sock.sendall(data)
            else:
                self._selector.unregister(sock)
                sock.close()
        else:
            while True:
                data, peer = sock.recvfrom(2048)
                sock.sendto(data, peer)
