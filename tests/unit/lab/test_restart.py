"""`astara lab restart` returns when the successor runs."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from astara_lab.profiles.astara import restarted
from astara_lab.supervised import State
from astara_lab.waiting import NotInTime


@dataclass
class Control:
    """A supervisor whose service has these pids, one per question; the last for ever."""

    pids: list[int | None]
    changed: list[tuple[str, str]] = field(default_factory=list)

    def state(self, name: str) -> State:
        pid = self.pids.pop(0) if len(self.pids) > 1 else self.pids[0]
        return State(name, pid, 1.0, 0, True, None)

    def change(self, verb: str, name: str) -> None:
        self.changed.append((verb, name))


def test_the_one_that_is_ending_is_not_taken_for_its_successor() -> None:
    control = Control([7, 7, None, 8])
    restarted(control, "neutron")  # type: ignore[arg-type]  # what it asks of it is enough
    assert control.changed == [("restart", "neutron")]
    assert control.pids == [8]


def test_a_service_that_does_not_come_back_is_told() -> None:
    with pytest.raises(NotInTime, match="neutron runs again"):
        restarted(Control([7]), "neutron", within_s=0.1)  # type: ignore[arg-type]  # as above
