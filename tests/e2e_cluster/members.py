"""The orchestrators and node agents of a lab, as processes that are killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass

from astara.admin.client import OperatorClient
from astara.model.errors import AstaraError
from astara.model.operator import ResourceLine
from astara_lab.control import Control
from astara_lab.places import Lab, Seat
from astara_lab.profiles.astara import restarted
from astara_lab.waiting import until

SEATS = tuple(Seat(number) for number in (1, 2, 3))


@dataclass
class Members:
    """The three processes, by name."""

    lab: Lab
    control: Control

    def ask(self, name: str) -> OperatorClient:
        return OperatorClient(next(seat for seat in SEATS if seat.name == name).admin_socket, timeout_s=5.0)

    def pid(self, name: str) -> int:
        state = self.control.state(name)
        assert state is not None
        assert state.pid is not None
        return state.pid

    def kill_for_good(self, name: str) -> None:
        """SIGKILL, and nobody starts it again. It is stopped first, so that it hears nothing of being told to end."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGSTOP)
        self.control.change("stop", name)
        os.kill(pid, signal.SIGKILL)
        until(f"{name} is dead", lambda: (self.control.state(name) or pid) and self._leave_dead(name), 10.0)

    def _leave_dead(self, name: str) -> bool:
        self.control.change("stop", name)
        state = self.control.state(name)
        return state is not None and state.pid is None

    def begin(self, name: str) -> None:
        """Start one that was told to end, once it has."""
        until(f"{name} has ended", lambda: self._leave_dead(name), 30.0)
        restarted(self.control, name)

    def lines(self, name: str) -> dict[str, ResourceLine] | None:
        with contextlib.suppress(AstaraError):
            return {line.key: line for line in self.ask(name).resources()}
        return None

    def owned(self, *names: str) -> dict[str, dict[str, ResourceLine]]:
        return {name: self.lines(name) or {} for name in names}

    def settled(self, keys: set[str], *names: str) -> bool:
        """Whether each of `keys` is one of these members' and no other's, and as wished."""
        owned = self.owned(*names)
        everything = [line for lines in owned.values() for line in lines.values() if line.key in keys]
        return len(everything) == len(keys) and all(line.phase == "configured" for line in everything)
