"""The hands that break things: one begins a fault, the other ends it. By process id, in the lab's own pod."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import httpx

from astara.admin.client import OperatorClient
from astara.model.errors import AstaraError
from astara.model.operator import InstanceLine
from astara_lab import second_node, wires
from astara_lab.control import Control
from astara_lab.demo.wounds import netns_of
from astara_lab.neutron_api import NeutronApi, NeutronRefused
from astara_lab.places import LOOPBACK, NEUTRON_PORT, Lab
from astara_lab.pod import Pod, PodError
from astara_lab.profiles import cluster
from astara_lab.tasks import port_open
from astara_lab.waiting import NotInTime, until
from chaos.order import EVERYTHING, Planned
from chaos.scene import Scene
from storm.wish import HALF

SLOW_PORT, SLOW_S = 20001, 2.0
_JUMP_S = 3600
_GONE_S = 30.0
_BALLAST = "ballast"
_BLOCK = b"\0" * (1 << 20)
_FAILURES = (OSError, LookupError, NotInTime, AstaraError, PodError, httpx.HTTPError)


class NotDone(Exception):
    """A fault could not be brought about; says why."""


class Hands:
    """`begin` returns in words what was done; `end` takes it back. Both may raise NotDone."""

    def __init__(self, lab: Lab, scene: Scene, seed: str) -> None:
        self._lab, self._scene = lab, scene
        self._control = Control(Pod(lab))
        self._random = Random(f"{seed}/hands")
        self._undo: list[Callable[[], None]] = []
        self._slow: subprocess.Popen[bytes] | None = None
        self._kinds: dict[str, Callable[[Planned], str]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "restart": self._restart,
            "outage": self._outage,
            "slow": self._slow_neutron,
            "destroy": self._destroy,
            "cut": self._cut,
            "full disk": self._fill,
            "clock ahead": lambda planned: self._set_clock(planned, _JUMP_S),
            "clock behind": lambda planned: self._set_clock(planned, -_JUMP_S),
        }

    def prepare(self) -> None:
        """Start what stands before Neutron while it is slow."""
        words = [sys.executable, "-m", "chaos.slow", str(SLOW_PORT), str(NEUTRON_PORT), str(SLOW_S)]
        self._slow = subprocess.Popen(words)
        until("the slow way to Neutron", port_open(LOOPBACK, SLOW_PORT), 20.0)

    def close(self) -> None:
        with contextlib.suppress(NotDone):  # the lab ends
            self.end()
        if self._slow is not None:
            self._slow.kill()
            self._slow.wait()

    def begin(self, planned: Planned) -> str:
        """Do it. Raises NotDone."""
        try:
            return self._kinds[planned.kind](planned)
        except _FAILURES as error:
            raise NotDone(_said(error)) from error

    def end(self) -> None:
        """Take back what lasts, all of it that can be. Raises NotDone."""
        left = []
        while self._undo:
            try:
                self._undo.pop()()
            except _FAILURES as error:
                left.append(_said(error))
        if left:
            raise NotDone(f"not taken back: {'; '.join(left)}")

    # -- processes

    def _kill(self, planned: Planned) -> str:
        pid, where = self._process(planned.target)
        os.kill(pid, signal.SIGKILL)
        until(f"pid {pid} is gone", lambda: _ended(pid), _GONE_S)
        return f"SIGKILL to pid {pid}{where}"

    def _freeze(self, planned: Planned) -> str:
        pid, where = self._process(planned.target)
        # A broker is several processes. A node agent's group may hold daemons of its instances: faults of their own.
        group = planned.target in ("rabbit", "neutron", "mariadb")
        send = os.killpg if group else os.kill
        send(pid, signal.SIGSTOP)

        def thaw() -> None:
            with contextlib.suppress(ProcessLookupError):
                send(pid, signal.SIGCONT)

        self._undo.append(thaw)
        return f"SIGSTOP to pid {pid}{where}, SIGCONT after {planned.hold_s:.0f} s"

    def _process(self, target: str) -> tuple[int, str]:
        if target in self._scene.services:
            state = self._control.state(target)
            if state is None or state.pid is None:
                raise NotDone(f"{target} does not run")
            return state.pid, ""
        found = self._daemons(target)
        if not found:
            raise NotDone(f"no {target} runs")
        pid = self._random.choice(found)
        return pid, f" ({target})"

    def _daemons(self, program: str) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and (entry / "comm").read_text().strip() == program:
                    found.append(int(entry.name))
        return sorted(found)

    def _restart(self, planned: Planned) -> str:
        pid, _ = self._process(planned.target)
        self._control.change("restart", planned.target)
        until(f"{planned.target} has ended", lambda: _ended(pid), _GONE_S)
        return "SIGTERM, and started again"

    def _outage(self, planned: Planned) -> str:
        pid, _ = self._process(planned.target)
        self._control.change("stop", planned.target)
        until(f"{planned.target} has ended", lambda: _ended(pid), _GONE_S)
        self._undo.append(lambda: self._control.change("restart", planned.target))
        return f"stopped for {planned.hold_s:.0f} s"

    # -- wires

    def _slow_neutron(self, planned: Planned) -> str:
        for seat in self._scene.seats:
            wires.lead(seat, "neutron", SLOW_PORT)
            self._undo.append(lambda seat=seat: wires.lead(seat, "neutron", NEUTRON_PORT))  # type: ignore[misc]
        return f"every answer to an orchestrator {SLOW_S:.0f} s late, for {planned.hold_s:.0f} s"

    def _cut(self, planned: Planned) -> str:
        self._undo.append(wires.mend)
        if planned.target == "half":
            return self._cut_halves(planned)
        one = [seat for seat in self._scene.seats if seat.name == planned.target]
        ends = tuple(wires.ENDS) if planned.other == EVERYTHING else (planned.other,)
        for seat in one or self._scene.seats:
            wires.cut(seat, *ends)
        return f"every packet dropped for {planned.hold_s:.0f} s"

    def _cut_halves(self, planned: Planned) -> str:
        api = NeutronApi(timeout_s=5.0)
        networks = {port["network_id"] for pair in self._scene.pairs for port in _halves(api, pair)}
        if not networks:
            raise NotDone("no pair has a network of its own")
        for network_id in networks:
            wires.cut_tunnel(int(api.find("networks", network_id)["provider:segmentation_id"]))
        return f"the pairs' own networks between the nodes dropped for {planned.hold_s:.0f} s"

    # -- bodies

    def _destroy(self, planned: Planned) -> str:
        active = planned.target == "active half"
        wanted = self._scene.pairs if active else self._scene.touched()
        lines = [line for line in self._instances() if line.resource.removeprefix("router/") in wanted]
        lines = [line for line in lines if not active or line.role == "active"]
        if not lines:
            raise NotDone(f"no {planned.target} is there")
        line = self._random.choice(sorted(lines, key=lambda one: one.id))
        host = second_node.NAME if line.host == second_node.NAME else ""
        second_node.kill_instance(host, netns_of(line.id))
        return f"every process and link of {line.resource} on {line.host} gone at once"

    def _instances(self) -> Sequence[InstanceLine]:
        for seat in self._scene.seats:
            with contextlib.suppress(AstaraError):
                return OperatorClient(seat.admin_socket, timeout_s=5.0).instances()
        raise NotDone("no orchestrator answers")

    # -- places

    def _fill(self, planned: Planned) -> str:
        place = cluster.disks(self._lab, self._scene.seats)[planned.target]
        ballast = place / _BALLAST
        self._undo.append(lambda: ballast.unlink(missing_ok=True))
        written = 0
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                written += file.write(_BLOCK)
        free = os.statvfs(place).f_bavail
        if free:
            raise NotDone(f"{free} blocks are still free on {place}")
        return f"the last {written >> 20} MiB of its disk taken for {planned.hold_s:.0f} s"

    def _set_clock(self, planned: Planned, seconds: int) -> str:
        file = cluster.clock_file(self._lab, next(seat for seat in self._scene.seats if seat.name == planned.target))
        file.write_text(str(seconds))
        self._undo.append(lambda: _right(file))
        # Only what happens meanwhile can be harmed: a ring comes and goes, which this one may say.
        other = self._random.choice([seat.name for seat in self._scene.seats if seat.name != planned.target])
        self._control.change("restart", other)
        return f"its wall clock {seconds:+d} s for {planned.hold_s:.0f} s, {other} restarted meanwhile"


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _ended(pid: int) -> bool:
    """Also of one that only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _right(clock: Path) -> None:
    clock.write_text("0")


def _halves(api: NeutronApi, router_id: str) -> Sequence[dict[str, str]]:
    with contextlib.suppress(NeutronRefused):
        return api.list("ports", device_id=router_id, device_owner=HALF)
    return ()
