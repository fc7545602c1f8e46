"""The halves of a pair stop hearing each other, both live: how long the paths of tenants on either node are silent.

    PYTHONPATH=tests tests/isolated .venv/bin/python benchmarks/pair_cut.py [--trials 2] [--hold-s 10]

Two halves in namespaces on two nodes, as in tests/kernel/test_pair.py; the HA network between the nodes is cut for a
while, tenants' networks are not. A machine on each node asks through SNAT: one flow, every 5 ms, a new flow every
20 ms, and one TCP connection by question and answer. "healed": three seconds after.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from astara_lab.namespaces import within
from support.pair import GATEWAY, WORLD, TwoNodes, two_nodes
from support.segment import eventually

_PORT, _FLOW_S, _FRESH_S, _AROUND_S = 7, 0.005, 0.02, 3.0


@dataclass
class Asked:
    """When each question was sent, and when an answer came; monotonic seconds."""

    sent: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)

    def told(self, begin: float, end: float) -> dict[str, float]:
        inside = [begin, *sorted(at for at in self.answered if begin <= at <= end), end]
        silence = max(later - earlier for earlier, later in itertools.pairwise(inside))
        sent = sum(begin <= at <= end for at in self.sent)
        return {"sent": sent, "lost": max(sent - len(inside) + 2, 0), "silent_ms": round(silence * 1000)}


def _udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)


def flow(netns: str, over: threading.Event, said: Asked) -> None:
    with within(netns, _udp) as asking:
        asking.connect((WORLD, _PORT))
        while not over.wait(_FLOW_S):
            _ask(asking, said)


def fresh(netns: str, over: threading.Event, said: Asked) -> None:
    """A new flow for each question; its answer is waited for until the next."""
    while not over.is_set():
        with within(netns, _udp) as asking:
            asking.connect((WORLD, _PORT))
            _ask(asking, said)
            over.wait(_FRESH_S)
            _hear(asking, said)


def tcp(netns: str, over: threading.Event, said: Asked) -> None:
    with within(netns, lambda: socket.create_connection((WORLD, _PORT), timeout=10)) as asking:
        asking.settimeout(0.2)
        while not over.wait(_FLOW_S):
            asking.send(b"x")
            said.sent.append(time.monotonic())
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    asking.recv(1)
                    said.answered.append(time.monotonic())
                    break


def _echo(listening: socket.socket, over: threading.Event) -> None:
    """Answer every connection, each from a thread of its own."""
    listening.settimeout(0.2)
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            served, _ = listening.accept()
            threading.Thread(target=_echo_one, args=(served,), daemon=True).start()


def _echo_one(served: socket.socket) -> None:
    with served, contextlib.suppress(OSError):
        while data := served.recv(64):
            served.sendall(data)


def _ask(asking: socket.socket, said: Asked) -> None:
    with contextlib.suppress(OSError):
        asking.send(b"x")
        said.sent.append(time.monotonic())
    _hear(asking, said)


def _hear(asking: socket.socket, said: Asked) -> None:
    with contextlib.suppress(OSError):
        while asking.recv(8):
            said.answered.append(time.monotonic())


def _answer(answering: socket.socket, over: threading.Event) -> None:
    answering.settimeout(0.2)
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            data, peer = answering.recvfrom(8)
            answering.sendto(data, peer)


_WAYS = (flow, fresh, tcp)


@contextlib.contextmanager
def asking(machines: dict[str, str]) -> Iterator[dict[str, Asked]]:
    """Ask in both ways from each machine (name -> namespace) until the block ends."""
    said = {f"{name}, {way.__name__}": Asked() for name in machines for way in _WAYS}
    over = threading.Event()
    with (
        within(machines["world"], _udp) as answering,
        within(machines["world"], lambda: socket.create_server((WORLD, _PORT))) as listening,
    ):
        answering.bind((WORLD, _PORT))
        loops: list[Callable[[], None]] = [lambda: _answer(answering, over), lambda: _echo(listening, over)]
        for name, netns in machines.items():
            loops += [
                lambda way=way, name=name, netns=netns: way(netns, over, said[f"{name}, {way.__name__}"])
                for way in _WAYS
                if name != "world"
            ]
        threads = [threading.Thread(target=loop, daemon=True) for loop in loops]
        for thread in threads:
            thread.start()
        try:
            yield said
        finally:
            over.set()
            for thread in threads:
                thread.join(5)


def trial(world: TwoNodes, machines: dict[str, str], hold_s: float) -> Iterator[dict[str, object]]:
    active, _ = world.settled()
    with asking(machines) as said:
        times = [time.monotonic()]
        time.sleep(_AROUND_S)
        times.append(time.monotonic())
        active.reconnect(connected=False, networks=("heart",))
        time.sleep(hold_s)
        roles = [str(half.role()) for half in world.halves]
        times.append(time.monotonic())
        active.reconnect(connected=True, networks=("heart",))
        time.sleep(_AROUND_S)
        times.append(time.monotonic())
    for path, asked in said.items():
        if asked.sent:
            spans = zip(("before", "cut", "healed"), itertools.pairwise(times), strict=True)
            found = {name: asked.told(*span) for name, span in spans}
            yield {"active": active.index, "path": path, "roles": roles, **found, "load": round(os.getloadavg()[0], 1)}


def hand_over(world: TwoNodes, index: int) -> None:
    """Have half `index` be the active one: the other one leaves, and comes back."""
    active, _ = world.settled()
    if active.index != index:
        active.engine.remove(active.place)
        assert eventually(lambda: world.halves[index].role() == "active")
        active.configure()
        assert world.settled()[0].index == index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2, help="with each of the halves active first")
    parser.add_argument("--hold-s", type=float, default=10.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, two_nodes(Path(directory)) as world:
        world.ready()
        second = world.machine("in", "10.0.0.6", node=1)
        second.run("ip", "route", "add", "default", "via", GATEWAY)
        machines = {"node 1": world.web.netns, "node 2": second.netns, "world": world.world.netns}
        for _, index in itertools.product(range(arguments.trials), (0, 1)):
            hand_over(world, index)
            for line in trial(world, machines, arguments.hold_s):
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
