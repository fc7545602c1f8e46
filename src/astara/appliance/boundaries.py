"""Boundaries inside the agent: what a subsystem is, and what a driver's appliance side is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from astara.contract.agent import Deviation, Role
from astara.contract.codec import Wire


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance lives on this machine.

    `netns` is the path of its network namespace (None: the namespace the agent runs in, for an
    appliance of its own). `files` is a directory only we write to. `instance_id` names it in logs.
    """

    instance_id: str
    netns: Path | None
    files: Path


class SubsystemError(Exception):
    """A subsystem refused or failed. `phase`: "check" (nothing touched yet) or "apply"; `remedy`: what to do."""

    def __init__(self, subsystem: str, phase: str, message: str, field: str | None = None, remedy: str = "") -> None:
        self.subsystem = subsystem
        self.phase = phase
        self.field = field
        self.remedy = remedy
        super().__init__(f"{subsystem}: {message}")


class NotPlugged(SubsystemError):
    """Links the configuration names are not there: a fault of the moment, not of the wish. Push again."""

    def __init__(self, subsystem: str, phase: str, macs: Iterable[str]) -> None:
        super().__init__(subsystem, phase, f"nothing is plugged in with MAC {', '.join(macs)}")


class Subsystem(Protocol):
    """One daemon or kernel table. Configs are the subsystem's own frozen types (Any here: each room knows its own).

    The engine calls, for one document: `render` of all, `check` of all, then `apply` in order
    (removal in reverse), then `read_back` of all.
    """

    name: str

    def render(self, place: Place, config: Any) -> Any:
        """Turn the typed config into what will be written. Pure: touches nothing."""
        ...

    def check(self, place: Place, rendered: Any) -> None:
        """Ask the daemon's own dry run; raise SubsystemError(phase="check") with its words."""
        ...

    def apply(self, place: Place, rendered: Any, previous: Any | None) -> bool:
        """Make it so, touching only what differs from the world; return whether anything was touched."""
        ...

    def read_back(self, place: Place, rendered: Any) -> Sequence[Deviation]:
        """Compare the world with `rendered`; empty when equal. Never answers from memory."""
        ...

    def remove(self, place: Place) -> None:
        """Take everything of ours away; absence is success."""
        ...


@runtime_checkable
class Standing(Protocol):
    """A Subsystem that knows which half of a pair this is."""

    def role(self, place: Place, rendered: Any) -> Role | None:
        """Ask the kernel; None when it cannot say."""
        ...


@runtime_checkable
class Unhurried(Protocol):
    """A Subsystem that runs before it can do what it is for."""

    def await_ready(self, place: Place) -> None:
        """Return when it can; a matter of seconds."""
        ...


class Appliance(Protocol):
    """A driver's appliance side: wire section -> one config per subsystem. Pure."""

    name: str
    section_type: type[Wire]

    def configs(self, section: Any) -> Mapping[str, Any]:
        """Map subsystem name -> its config. Raises ContractError naming the field for what types cannot say."""
        ...


@runtime_checkable
class Rehearsed(Protocol):
    """An Appliance that can say what most of its documents are like, so that a machine may do it once beforehand."""

    def typical(self, macs: tuple[str, str]) -> Wire:
        """Return a section about links with these two MAC addresses, and with addresses of documentation. Pure."""
        ...
