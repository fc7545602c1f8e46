"""Asks every orchestrator, twice a second, what is not settled; and waits until nothing is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from astara.admin.client import OperatorClient
from astara.model.errors import AstaraError
from astara_lab import wires
from astara_lab.places import NEUTRON_URL, Seat
from astara_lab.tasks import http_answers, port_open
from chaos.history import Sample

EVERY_S = 0.5
_TIMEOUT_S = 3.0
_QUIET = frozenset({"configured", "gone"})
_WORDS = 6


class Watching:
    """A thread of its own; `samples` is what it saw so far."""

    def __init__(self, seats: tuple[Seat, ...], now_s: Callable[[], float]) -> None:
        self._seats, self._now_s = seats, now_s
        self._answers = {end: port_open(wires.address(end), number) for end, number in wires.ENDS.items()}
        self._answers["neutron"] = http_answers(NEUTRON_URL)  # its port is open long before it can answer
        self._end = threading.Event()
        self._news = threading.Condition()
        self._samples: list[Sample] = []
        self._thread = threading.Thread(target=self._run, name="watching", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join(len(self._seats) * 4 * _TIMEOUT_S)

    @property
    def samples(self) -> tuple[Sample, ...]:
        with self._news:
            return tuple(self._samples)

    @property
    def last(self) -> Sample | None:
        with self._news:
            return self._samples[-1] if self._samples else None

    def settled_since(self, at_s: float, within_s: float) -> float | None:
        """Wait for a look that began after `at_s` and found nothing unsettled; returns when it was."""
        deadline = time.monotonic() + within_s
        seen = 0
        with self._news:
            while True:
                for sample in self._samples[seen:]:
                    if sample.settled and sample.at_s > at_s:
                        return sample.at_s
                seen = len(self._samples)
                left = deadline - time.monotonic()
                if left <= 0 or not self._news.wait(left):
                    return None

    def _run(self) -> None:
        while not self._end.wait(EVERY_S):
            at_s = self._now_s()
            dead = tuple(f"{end} does not answer" for end, answers in self._answers.items() if not answers())
            sample = sample_of(self._seats, at_s, dead)
            with self._news:
                self._samples.append(sample)
                self._news.notify_all()


def sample_of(seats: tuple[Seat, ...], at_s: float, dead: tuple[str, ...] = ()) -> Sample:
    """Ask every orchestrator once. `dead`: what else is known to be away."""
    unsettled, away, owned, active, why = 0, list(dead), dict[str, int](), dict[str, str](), list[str]()
    told = False  # somebody has told of all instances
    for seat in seats:
        client = OperatorClient(seat.admin_socket, timeout_s=_TIMEOUT_S)
        try:
            status, lines = client.status(), client.resources()
            instances = client.instances() if not told else ()
        except AstaraError as error:
            away.append(f"{seat.name}: {error}")
            continue
        loud = [line for line in lines if line.phase not in _QUIET]
        owned[seat.name] = len(lines)
        unsettled += max(len(loud), status.queue + status.working)
        why += [f"{line.key} is {line.phase}: {line.because}" for line in loud]
        away += [f"{seat.name}: {node.name} does not answer" for node in status.nodes if not node.reachable]
        away += [f"{seat.name}: {feed.name} is not connected" for feed in status.feeds if not feed.connected]
        away += [f"{seat.name}: Neutron: {status.neutron}"] if status.neutron != "ok" else []
        away += [f"{seat.name}: records: {status.records}"] if status.records != "ok" else []
        away += [f"{seat.name}: cluster: {status.cluster}"] if status.cluster != f"one of {len(seats)}" else []
        away += [f"{seat.name}: braked: {status.brake_reason}"] if status.braked else []
        active |= {line.resource: line.host for line in instances if line.role == "active"}
        told = told or bool(instances)
        ill = [f"{line.id} of {line.resource} is {line.health}" for line in instances if line.health != "healthy"]
        unsettled, why = unsettled + len(ill), why + ill
    return Sample(at_s, unsettled, tuple(away), owned, active, tuple(why[:_WORDS]))
