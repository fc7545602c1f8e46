"""Services that keep a group, each alone on a free port of 127.0.0.1; and a member in a process of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

import httpx

from astara.model.cluster import Member
from support.segment import eventually

#: Where Debian puts it. It brings a Java, so it is not among what `make test` installs.
ZOOKEEPER = Path("/usr/share/java/zookeeper.jar")
Server: TypeAlias = subprocess.Popen[bytes]
#: The url for [cluster] coordination_url, and the process.
Running: TypeAlias = tuple[str, Server]


@contextlib.contextmanager
def redis(directory: Path) -> Iterator[Running]:
    port = free_port()
    command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", directory]
    with running(command, port, directory / "redis.log") as server:
        yield f"redis://127.0.0.1:{port}", server


@contextlib.contextmanager
def etcd(directory: Path) -> Iterator[Running]:
    port, peers = free_port(), free_port()
    clients = f"http://127.0.0.1:{port}"
    command = ["etcd", "--data-dir", directory / "etcd", "--listen-client-urls", clients]
    command += ["--advertise-client-urls", clients, "--listen-peer-urls", f"http://127.0.0.1:{peers}"]
    with running(command, port, directory / "etcd.log") as server:
        eventually(lambda: healthy(clients), within_s=30)
        yield f"etcd3+{clients}", server


@contextlib.contextmanager
def zookeeper(directory: Path) -> Iterator[Running]:
    """Its last argument is the tick in milliseconds: a session lasts at least two."""
    port = free_port()
    java = ["java", "-Xmx64m", "-Dzookeeper.admin.enableServer=false", "-cp", f"{ZOOKEEPER}:{ZOOKEEPER.parent}/*"]
    command = [*java, "org.apache.zookeeper.server.ZooKeeperServerMain", port, directory / "zookeeper", "500"]
    with running(command, port, directory / "zookeeper.log") as server:
        yield f"zookeeper://127.0.0.1:{port}", server


SERVERS: dict[str, Callable[[Path], AbstractContextManager[Running]]] = {
    "redis": redis,
    "etcd": etcd,
    "zookeeper": zookeeper,
}

_MEMBER = """
import contextlib, sys, time
from astara.cluster.coordination import ToozCoordinator
from astara.model.cluster import Member
from astara.model.errors import Retry
coordinator = ToozCoordinator(sys.argv[1], "astara", Member.parse(sys.argv[2]), float(sys.argv[3]))
while True:
    with contextlib.suppress(Retry):
        coordinator.beat()
    time.sleep(0.1)
"""


@contextlib.contextmanager
def member_process(url: str, member: Member, lease_s: float, log: Path) -> Iterator[Server]:
    """One that beats until it is ended."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _MEMBER, url, str(member), str(lease_s)], stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            ended(process)


@contextlib.contextmanager
def running(command: list[object], port: int, log: Path) -> Iterator[Server]:
    with log.open("wb") as output:
        server = subprocess.Popen([str(word) for word in command], stdout=output, stderr=subprocess.STDOUT)
        try:
            eventually(lambda: listens(port), within_s=30)
            yield server
        finally:
            ended(server)


def ended(server: Server) -> None:
    server.kill()
    server.wait(30)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def healthy(url: str) -> bool:
    """Whether etcd has a leader: it listens before that."""
    try:
        return httpx.get(f"{url}/health", timeout=5).json() == {"health": "true"}
    except httpx.HTTPError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
