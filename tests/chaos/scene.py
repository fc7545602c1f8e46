"""What a run plays on: a cloud of profile cluster, routers nobody touches, pairs, machines, and who is who."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import storm
from astara_lab import second_node
from astara_lab.places import NODE_NAME, Seat
from storm.changes import Register
from storm.sight import Sight, look
from storm.untouched import Untouched


@dataclass(frozen=True)
class Scene:
    """`pairs`: ids of the pairs that only accidents touch; `services`: names at the supervisor."""

    seats: tuple[Seat, ...]
    untouched: Untouched
    register: Register

    @property
    def services(self) -> tuple[str, ...]:
        return (*(seat.name for seat in self.seats), "node", "node-2", "neutron", "rabbit", "mariadb")

    @property
    def pairs(self) -> tuple[str, ...]:
        return tuple(still.router_id for still in self.untouched.stills if still.pair)

    def touched(self) -> tuple[str, ...]:
        """Return the ids of the routers that tenants change all the time."""
        return self.register.ids("router")


def seats_of(control: Any) -> tuple[Seat, ...]:
    """Return the lab's orchestrators."""
    names = {state.name for state in control.status()}
    return tuple(seat for seat in map(Seat, range(1, 10)) if seat.name in names)


def look_everywhere() -> dict[str, Sight]:
    """Return what there is on each node."""
    there = second_node.there(sys.executable, "-m", "storm.sight", second_node.NAME)
    path = {"PYTHONPATH": str(Path(storm.__file__).resolve().parents[1])}  # it begins in another directory
    said = subprocess.run(there, capture_output=True, check=True, timeout=60, env=os.environ | path)
    return {NODE_NAME: look(host=NODE_NAME), second_node.NAME: msgspec.json.decode(said.stdout, type=Sight)}
