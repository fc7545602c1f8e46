"""A live router is moved from one body to another: what crosses it goes on."""

from __future__ import annotations

import contextlib
import itertools
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from astara.admin.cli import cli
from astara.admin.client import OperatorClient
from astara_lab.hosts import Host, OutsideHost
from astara_lab.listeners import tcp_echo
from astara_lab.places import ADMIN_SOCKET, BODIES
from astara_lab.waiting import patient, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
OUTSIDE = "198.51.100.1"
EVERY_S = 0.01


class Talk:
    """One TCP connection that says something again and again; `longest_s` is how long an answer took at most."""

    def __init__(self, host: Host) -> None:
        self.answers, self.longest_s = 0, 0.0
        self.broken: OSError | None = None
        self._over = threading.Event()
        self._socket = host.socket()
        self._socket.settimeout(patient(10.0))
        self._socket.connect((OUTSIDE, 7))
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _talk(self) -> None:
        try:
            while not self._over.wait(EVERY_S):
                began = time.monotonic()
                self._socket.sendall(b"x")
                if not self._socket.recv(100).endswith(b" x"):
                    raise ConnectionError("the connection was closed")
                self.answers, self.longest_s = self.answers + 1, max(self.longest_s, time.monotonic() - began)
        except OSError as error:
            self.broken = error


@pytest.fixture
def others(body: str) -> Sequence[str]:
    """The bodies a router here can be moved to, one after the other, and back."""
    (node,) = OperatorClient(ADMIN_SOCKET).status().nodes
    offered = [one for one in BODIES if (node.bodies or {}).get(one) or one == "namespace"]
    if len(offered) == 1:
        pytest.skip("this lab has no image, so there are namespaces only: make e2e BODY=container or BODY=microvm")
    return [*(one for one in offered if one != body), body]


@dataclass
class Heard:
    """What `ping -D` wrote, once it has ended."""

    said: str = ""


@contextlib.contextmanager
def echoes(host: Host) -> Iterator[Heard]:
    """One echo after the other meanwhile."""
    heard = Heard()
    ping = host.spawn(["ping", "-n", "-D", "-i", str(EVERY_S), OUTSIDE])
    try:
        yield heard
    finally:
        ping.send_signal(signal.SIGINT)
        heard.said, _ = ping.communicate(timeout=30)


def bodies_of(router_id: str) -> list[str]:
    return [
        line.provider for line in OperatorClient(ADMIN_SOCKET).instances() if line.resource == f"router/{router_id}"
    ]


def longest_gap_s(said: str) -> tuple[int, float]:
    """How many echoes were lost, and the longest time between two answers, from what `ping -D` wrote."""
    times = [float(found[1]) for found in re.finditer(r"^\[([\d.]+)\] .*bytes from", said, re.MULTILINE)]
    sent, received = re.search(r"(\d+) packets transmitted, (\d+) received", said).groups()  # type: ignore[union-attr]
    return int(sent) - int(received), max((b - a for a, b in itertools.pairwise(times)), default=0.0)


@pytest.fixture
def log(lab: Any) -> Callable[[str], None]:
    """What was measured stays beside the lab's logs, and is printed."""
    file: Path = lab.log / "moves.txt"

    def write(words: str) -> None:
        print(words)
        with file.open("a") as stream:
            stream.write(words + "\n")

    return write


def moved_through(
    others: Sequence[str], router_id: str, host: Host, outside: OutsideHost, log: Callable[[str], None]
) -> None:
    """Move a router from body to body under echoes and a TCP connection; each move is logged with what it cost."""
    until("the way out", lambda: host.ping(OUTSIDE) is not None, 20.0)
    with tcp_echo(outside, 7), closing(Talk(host)) as talk:
        for target in others:
            before, talk.longest_s = talk.answers, 0.0
            source = bodies_of(router_id)
            with echoes(host) as heard:
                moved = CliRunner().invoke(
                    cli, ["--socket", str(ADMIN_SOCKET), "move", router_id, "--to", target], prog_name="astara"
                )
                assert moved.exit_code == 0, moved.output
                until(f"only a {target}", lambda target=target: bodies_of(router_id) == [target], 200.0)
                until("answers after it", lambda after=talk.answers: talk.answers > after + 20 or talk.broken, 30.0)
            lost, gap_s = longest_gap_s(heard.said)
            assert talk.broken is None, f"{source} to {target}: {talk.broken} after {talk.answers} answers"
            assert talk.answers > before
            log(
                f"{source[0]} to {target}: {lost} echoes lost of one every {EVERY_S * 1000:.0f} ms, longest time "
                f"between two answers {gap_s * 1000:.0f} ms; longest answer over TCP {talk.longest_s * 1000:.0f} ms"
            )


def test_a_live_router_moves_between_bodies_and_keeps_its_connections(
    cloud: Any, hosts: Callable[..., Host], outside: OutsideHost, others: Sequence[str], log: Any
) -> None:
    router = cloud.router("r")
    host = hosts("a", cloud.routed("n", "10.8.1.0/24", router=router))
    moved_through(others, router.id, host, outside, log)
