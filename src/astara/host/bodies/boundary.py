"""What it takes to give an instance a body on this node. Entry points `astara.bodies`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from astara.appliance.boundaries import Appliance, Place, Subsystem
from astara.contract.agent import ApplyReport, Connection, InstanceSpec, Role, StateView
from astara.contract.document import Document
from astara.host.options import NodeOptions


class ApplyEngine(Protocol):
    """What configures instances of one body: `appliance.apply.engine.Engine`, or the agent inside the body."""

    def apply(self, place: Place, document: Document) -> ApplyReport: ...

    def state(self, place: Place) -> StateView: ...

    def role(self, place: Place, within_s: float) -> Role | None:
        """Return who this half of a pair is now; None: no half, or not known within that time (0: in a blink)."""
        ...

    def repair(self, place: Place) -> StateView: ...

    def remove(self, place: Place) -> None: ...


class Tracking(Protocol):
    """Where the connections that cross an instance are tracked. Both raise Refusal."""

    def tracked(self, place: Place) -> Sequence[Connection]: ...

    def restore(self, place: Place, connections: Sequence[Connection]) -> int:
        """Make them known; returns how many were not yet."""
        ...


@dataclass(frozen=True, slots=True)
class Birth:
    """One instance as its body needs it. The namespace `place.netns` and the plugs of `spec.ports` are there.

    `files` is the body's own directory below the instance's: disks, sockets, pid files, the console log.
    """

    spec: InstanceSpec
    place: Place
    files: Path


class BodyFailed(Exception):
    """The body cannot be made or did not come up in time. `remedy` says what to change; `console` its last words."""

    def __init__(self, message: str, remedy: str, console: str = "") -> None:
        self.remedy = remedy
        self.console = console
        super().__init__(f"{message}; its console ends with: {console}" if console else message)


class Body(Protocol):
    """One kind of body. Called from many threads; calls for one instance take turns."""

    kind: str

    @property
    def engine(self) -> ApplyEngine:
        """Configures instances of this body."""
        ...

    @property
    def tracking(self) -> Tracking:
        """Where the kernel is that tracks the connections of this body's instances."""
        ...

    def images(self) -> Sequence[str]:
        """Names of the images this node has for it, its default first; empty for a body without images."""
        ...

    def digests(self) -> Mapping[str, str]:
        """Digests of the contents of those images, by name, as far as that is known without starting one."""
        ...

    def image_of(self, instance_id: str) -> str | None:
        """Digest of the image an instance runs, as the agent inside said last; None without one."""
        ...

    def prepare(self) -> None:
        """Called once at start. May raise nothing that keeps the agent from starting."""
        ...

    def ensure(self, birth: Birth) -> None:
        """Make the body run with exactly the ports of `birth`, hot-plugging what came or went. Idempotent.

        Returns once the agent inside answers.

        Raises:
            BodyFailed: it cannot be made, or does not answer within its deadline; nothing half made is left.
        """
        ...

    def whole(self, birth: Birth) -> bool:
        """Whether it runs with these ports: a cheap look, nothing is asked of the agent inside."""
        ...

    def end(self, instance_id: str, files: Path) -> None:
        """End the body and take its files away; absence is success. Also called for what has no record."""
        ...

    def pid(self, instance_id: str, files: Path) -> int | None:
        """The process whose end is the body's; None when there is none (a namespace)."""
        ...

    def console(self, files: Path) -> bytes:
        """The last part of what it wrote to its console."""
        ...

    def strays(self) -> Sequence[str]:
        """Instance ids of bodies with our mark that run on this node, recorded or not."""
        ...


@runtime_checkable
class ServedBeside(Protocol):
    """A body whose agent cannot serve everything by itself: the node's subsystem for the rest is handed to it."""

    def serve_beside(self, subsystem: Subsystem, appliances: Mapping[str, Appliance]) -> None: ...


class BodyUnavailable(Exception):
    """Raised by a factory: this node cannot make this kind of body. The message says what is missing."""


BodyFactory: TypeAlias = Callable[[NodeOptions], Body]
