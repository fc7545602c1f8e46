"""Servers on simulated machines: threads of the calling program, with sockets of the machine's namespace."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from socket import IPPROTO_IPV6, IPV6_V6ONLY, SHUT_RDWR, SO_REUSEADDR, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, socket

from astara_lab.machine import Machine

_BACKLOG = 64


@contextlib.contextmanager
def tcp_server(machine: Machine, port: int, serve: Callable[[socket, str], None]) -> Iterator[None]:
    """Calls `serve(connection, peer address)` in a thread for each connection, on IPv4 and IPv6."""
    with contextlib.ExitStack() as stack:
        for version in (4, 6):
            listener = stack.enter_context(machine.socket(version, SOCK_STREAM))
            listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            if version == 6:
                listener.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
            listener.bind(("0.0.0.0" if version == 4 else "::", port))
            listener.listen(_BACKLOG)
            _in_background(stack, listener, lambda s=listener: _accept(s, serve))  # type: ignore[misc]  # bound now
        yield


@contextlib.contextmanager
def udp_echo(machine: Machine, port: int) -> Iterator[None]:
    """Answers each datagram with the sender's address, a space, and the datagram."""

    def answer(server: socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = server.recvfrom(65536)
                if peer is None:  # shut down
                    return
                server.sendto(peer[0].encode() + b" " + data, peer)

    with contextlib.ExitStack() as stack:
        for version in (4, 6):
            server = stack.enter_context(machine.socket(version, SOCK_DGRAM))
            if version == 6:
                server.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
            server.bind(("0.0.0.0" if version == 4 else "::", port))
            _in_background(stack, server, lambda s=server: answer(s))  # type: ignore[misc]  # bound now
        yield


def tcp_echo(machine: Machine, port: int) -> contextlib.AbstractContextManager[None]:
    """Answers each message of a connection with the peer's address, a space, and the message, until it is closed."""

    def serve(connection: socket, peer: str) -> None:
        while data := connection.recv(65536):
            connection.sendall(peer.encode() + b" " + data)

    return tcp_server(machine, port, serve)


def http_server(machine: Machine, port: int, body: bytes = b"") -> contextlib.AbstractContextManager[None]:
    """Answers every request with `body`, or with the peer's address when there is none."""

    def serve(connection: socket, peer: str) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            more = connection.recv(65536)
            if not more:
                return
            received += more
        content = body or peer.encode()
        head = f"HTTP/1.1 {HTTPStatus.OK.value} OK\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + content)

    return tcp_server(machine, port, serve)


def _accept(listener: socket, serve: Callable[[socket, str], None]) -> None:
    def one(connection: socket, peer: str) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(60.0)
            serve(connection, peer)

    with contextlib.suppress(OSError):
        while True:
            connection, peer = listener.accept()
            threading.Thread(target=one, args=(connection, peer[0]), daemon=True).start()


def _in_background(stack: contextlib.ExitStack, server: socket, body: Callable[[], None]) -> None:
    thread = threading.Thread(target=body, daemon=True)
    thread.start()

    def end() -> None:
        # Wakes a thread that waits in accept or recvfrom, which closing alone would not.
        with contextlib.suppress(OSError):
            server.shutdown(SHUT_RDWR)
        server.close()
        thread.join(5.0)

    stack.callback(end)
