"""What the node serves itself for an instance whose agent is inside a body of its own: metadata.

The agent inside has no way out of the instance's namespace, and shall never have the secret that signs identities
towards Nova. The node's proxy can enter that namespace, so the node applies this part of each document itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace as replaced
from typing import Any

from msgspec.structs import replace

from astara.appliance.apply.engine import Engine
from astara.appliance.apply.wish import NoSuchDriver
from astara.appliance.boundaries import Appliance, Place, Subsystem
from astara.contract.agent import ApplyReport, Deviation, Health, Role, StateView
from astara.contract.document import Document
from astara.host.bodies.boundary import ApplyEngine


class Elsewhere:
    """Inside a body: stands for a subsystem that the node serves."""

    def __init__(self, name: str) -> None:
        self.name = name

    def render(self, place: Place, config: Any) -> Any:
        return config

    def check(self, place: Place, rendered: Any) -> None:
        """The node judges it."""

    def apply(self, place: Place, rendered: Any, previous: Any | None) -> bool:
        return False

    def read_back(self, place: Place, rendered: Any) -> Sequence[Deviation]:
        return ()

    def remove(self, place: Place) -> None:
        """Nothing of it is here."""


class Part:
    """A driver's appliance side, as far as it concerns one subsystem."""

    def __init__(self, whole: Appliance, subsystem: str) -> None:
        self.name = whole.name
        self.section_type = whole.section_type
        self._whole = whole
        self._subsystem = subsystem

    def configs(self, section: Any) -> Mapping[str, Any]:
        return {name: config for name, config in self._whole.configs(section).items() if name == self._subsystem}


def part_engine(subsystem: Subsystem, appliances: Mapping[str, Appliance]) -> Engine:
    """Return an engine that applies one subsystem's part of any document."""
    return Engine((subsystem,), {name: Part(whole, subsystem.name) for name, whole in appliances.items()})


class Beside:
    """Two engines for one instance: the agent inside, and the node's for what it serves itself."""

    def __init__(self, inside: ApplyEngine, node: ApplyEngine) -> None:
        self._inside = inside
        self._node = node

    def apply(self, place: Place, document: Document) -> ApplyReport:
        """The agent inside first: the links are its."""
        report = self._inside.apply(place, document)
        with suppress(NoSuchDriver):  # one that is in the image alone has nothing served beside it
            self._node.apply(_beside(place), document)
        return report

    def state(self, place: Place) -> StateView:
        return self._together(place, self._inside.state(place))

    def role(self, place: Place, within_s: float) -> Role | None:
        return self._inside.role(place, within_s)

    def repair(self, place: Place) -> StateView:
        state = self._inside.repair(place)
        self._node.repair(_beside(place))
        return self._together(place, state)

    def remove(self, place: Place) -> None:
        self._node.remove(_beside(place))
        self._inside.remove(place)

    def _together(self, place: Place, state: StateView) -> StateView:
        if state.health is not Health.HEALTHY:
            return state
        own = self._node.state(_beside(place))
        if own.health is not Health.DEGRADED:
            return state
        return replace(state, health=own.health, deviations=own.deviations, last_error=own.last_error)


def _beside(place: Place) -> Place:
    return replaced(place, files=place.files / "beside")
