"""Everything that can be killed, at random, by process id and with SIGKILL; and worse accidents for what is touched."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

from astara_lab.control import Control
from astara_lab.demo import wounds
from astara_lab.pod import Pod, PodError
from storm.sight import instances
from storm.timeline import Timeline


class Killer:
    """`spared`: namespaces of untouched routers and networks; only their daemons are killed, nothing is destroyed."""

    def __init__(
        self, seed: str, pod: Pod, spared: frozenset[str], timeline: Timeline, stop: threading.Event, *, api: bool
    ) -> None:
        self._random = Random(f"{seed}/kills")
        self._control = Control(pod)
        self._spared = spared
        self._timeline = timeline
        self._stop = stop
        services = ["orchestrator"] * 3 + ["node"] * 3
        if pod.lab.profile == "neutron":
            services += ["rabbit"]
        if api:
            services += ["neutron"]
        self._services, self._deck = services, list[str]()
        self._table: list[tuple[int, Callable[[], str | None]]] = [
            (30, self._service),
            (25, self._daemon),
            (12, self._ruleset),
            (12, self._namespace),
        ]
        self._thread = threading.Thread(target=self._run, name="killer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        weights = [weight for weight, _ in self._table]
        while not self._stop.wait(self._random.uniform(0.3, 2.0)):
            accident = self._random.choices(self._table, weights)[0][1]
            at_s = self._timeline.now_s()
            try:
                words = accident()
            except (OSError, PodError) as error:
                self._timeline.note("kill", f"accident did not happen: {error}", "failed", at_s)
                continue
            if words:
                self._timeline.note("kill", words, "done", at_s)

    def _service(self) -> str | None:
        """Each comes up before any comes again too often. The supervisor starts it again; the dead stay dead."""
        if not self._deck:
            self._deck = self._random.sample(self._services, len(self._services))
        name = self._deck.pop()
        state = self._control.state(name)
        if state is None or state.pid is None:
            return None
        os.kill(state.pid, signal.SIGKILL)
        return f"{name} pid {state.pid}"

    def _daemon(self) -> str | None:
        """Any instance's, the untouched ones' too: no packet needs them."""
        name, where = self._random.choice(("dnsmasq", "radvd")), self._somewhere(instances())
        if where is None:
            return None
        killed = wounds.kill_daemon(where, name)
        return f"{name} of {where}, pid {killed[0]}" if killed else None

    def _ruleset(self) -> str | None:
        where = self._somewhere(self._touched())
        if where is None:
            return None
        wounds.flush_ruleset(where)
        return f"ruleset of {where}"

    def _namespace(self) -> str | None:
        where = self._somewhere(self._touched())
        if where is None:
            return None
        wounds.destroy_namespace(where)
        return f"namespace {where}"

    def _touched(self) -> tuple[str, ...]:
        return tuple(name for name in instances() if name not in self._spared)

    def _somewhere(self, names: tuple[str, ...]) -> str | None:
        return self._random.choice(names) if names else None


def identity(name: str) -> int | None:
    """Return what tells a namespace from a later one of the same name; None when it is gone."""
    return wounds.identity(name)


def keep_logs(source: Path, target: Path) -> None:
    """Copy a lab's logs out before the lab is deleted."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.glob("*.log"):
        (target / file.name).write_bytes(file.read_bytes())
