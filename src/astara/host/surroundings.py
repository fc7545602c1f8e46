"""What all instances of a node share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from astara.appliance.boundaries import Place
from astara.host.attach.boundary import Plug
from astara.host.bodies.boundary import Body
from astara.host.dwellings import Dwellings
from astara.host.floor import Floor
from astara.host.own_identity import OwnIdentity
from astara.host.records import Records


class Watching(Protocol):
    """Who is told when we work on an instance ourselves (host.watch.Watch)."""

    def working(self, place: Place) -> None: ...

    def settled(self, place: Place, port_ids: frozenset[str], body_pid: int | None) -> None: ...

    def forget(self, place: Place) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all instances of a node share. `solitary`: there is room for one instance only.

    `own` is where the agent has its own identity, when another comes with the instance: in a machine. `rehearse` is
    done once where a spare is made, so that who adopts it waits for nothing that is done for the first time.
    """

    bodies: Mapping[str, Body]
    records: Records
    attachments: Mapping[str, Plug]
    dwellings: Dwellings
    watch: Watching
    wall: Callable[[], float]
    solitary: bool = False
    own: OwnIdentity | None = None
    rehearse: Callable[[], None] | None = None
    floor: Floor = field(default_factory=Floor)
