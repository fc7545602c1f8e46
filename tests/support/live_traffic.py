"""Traffic through an instance while something is done to it: machines on its bridges, echoes, one TCP connection."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from astara.host.attach.bridge import bridge_name
from support.node_agent import mac
from support.segment import Machine, ip

EVERY_S = 0.004
SERVER = "192.0.2.2"

_ECHO = f"""
import socket
listening = socket.create_server(("{SERVER}", 7))
print("ready", flush=True)
peer, _ = listening.accept()
while data := peer.recv(64):
    peer.sendall(data)
"""
#: Goes on until it is interrupted.
_TALK = f"""
import signal, socket, time
over = []  # no Event: a handler that sets one while its own thread waits for it can wait for itself
signal.signal(signal.SIGINT, lambda number, _frame: over.append(number))
peer = socket.create_connection(("{SERVER}", 7), timeout=20)
longest, count = 0.0, 0
print("talking", flush=True)
while not over:
    time.sleep(0.002)
    began = time.monotonic()
    peer.sendall(b"x")
    assert peer.recv(1) == b"x"
    longest, count = max(longest, time.monotonic() - began), count + 1
print(f"answers {{count}} longest {{longest:.4f}}", flush=True)
"""

_SPEAKS = f"""
import signal, socket
listening = socket.create_server(("{SERVER}", 8))
print("listening", flush=True)
peer, _ = listening.accept()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
print("connected", flush=True)
signal.sigwait([signal.SIGINT])
peer.sendall(b"x")
peer.recv(1)
"""
_HEARS = f"""
import socket
peer = socket.create_connection(("{SERVER}", 8), timeout=20)
peer.settimeout(300)
try:
    print("heard" if peer.recv(1) == b"x" else "closed", flush=True)
except OSError as error:
    print(error, flush=True)
"""


@dataclass(frozen=True)
class Experienced:
    """`lost_s`: echoes lost, as time. `longest_s`: the longest an answer took over the one TCP connection."""

    lost_s: float
    longest_s: float
    answers: int


@contextlib.contextmanager
def machine_on(network_id: str, address: str, gateway: str | None) -> Iterator[Machine]:
    """A machine on the bridge of a network, whatever else is plugged there."""
    name = f"m-{network_id[:8]}"
    ip("netns", "add", name)
    made = Machine(name, mac())
    outer = f"m{network_id[:8]}"
    try:
        ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", outer, "master", bridge_name(network_id), "up")
        made.run("ip", "link", "set", "lo", "up")
        made.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        made.run("ip", "link", "set", "eth0", "up")
        if gateway:
            made.run("ip", "route", "add", "default", "via", gateway)
        yield made
    finally:
        ip("netns", "del", name)


def experienced(client: Machine, server: Machine, meanwhile: Callable[[], None]) -> Experienced:
    """Echoes and a TCP connection from `client` to `server` while `meanwhile` is done and for a moment after it.

    Raises AssertionError when the connection did not live to the end with every byte answered.
    """
    echo = server.start("python3", "-c", _ECHO)
    talk = ping = None
    try:
        assert echo.stdout is not None
        assert echo.stdout.readline() == "ready\n"
        talk = client.start("python3", "-c", _TALK)
        assert talk.stdout is not None
        assert talk.stdout.readline() == "talking\n"
        ping = client.start("ping", "-q", "-i", str(EVERY_S), SERVER)
        meanwhile()
        assert reaches(client)
        ping.send_signal(signal.SIGINT)
        said = ping.communicate(timeout=30)[0]
        talk.send_signal(signal.SIGINT)
        talked = talk.communicate(timeout=60)[0]
    finally:
        for process in filter(None, (echo, talk, ping)):
            process.kill()
            process.communicate()
    counted = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    assert counted is not None, said
    told = re.search(r"answers (\d+) longest ([\d.]+)", talked)
    assert told is not None, f"the connection broke: {talked}"
    return Experienced((int(counted[1]) - int(counted[2])) * EVERY_S, float(told[2]), int(told[1]))


def reaches(machine: Machine) -> bool:
    return " 0% packet loss" in machine.run("ping", "-c", "3", "-i", "0.05", "-W", "1", SERVER, check=False)


@contextlib.contextmanager
def far_end_speaks(client: Machine, server: Machine) -> Iterator[Callable[[], str]]:
    """A TCP connection from `client` on which nothing is said until the server does: what the client says of it."""
    speaker = server.start("python3", "-c", _SPEAKS)
    assert speaker.stdout is not None
    assert speaker.stdout.readline() == "listening\n"
    hearer = client.start("python3", "-c", _HEARS)
    try:
        assert speaker.stdout.readline() == "connected\n"

        def speak() -> str:
            speaker.send_signal(signal.SIGINT)
            return hearer.communicate(timeout=60)[0].strip()

        yield speak
    finally:
        for process in (speaker, hearer):
            process.kill()
            process.communicate()
