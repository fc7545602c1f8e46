"""What is managed, what is wanted, what is seen."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TypeAlias

from astara.contract.agent import Health, PortAttachment, Role, StateView
from astara.contract.codec import Wire


@dataclass(frozen=True, slots=True, order=True)
class ResourceKey:
    """All that is ever queued: the driver's name and Neutron's id."""

    driver: str
    id: str

    def __str__(self) -> str:
        return f"{self.driver}/{self.id}"

    @classmethod
    def parse(cls, text: str) -> ResourceKey:
        """Read "driver/id"; raises ValueError with the expected form."""
        driver, slash, identifier = text.partition("/")
        if not (driver and slash and identifier):
            raise ValueError(f"{text!r} is not a resource: write DRIVER/ID, for example router/6f1c…")
        return cls(driver, identifier)


@dataclass(frozen=True, slots=True)
class DesiredInstance:
    """One instance that should exist: where, of what kind, plugged how, configured how.

    `section` is the driver's wire type; `digest` its digest, the identity of the configuration. `image` names what
    the instance is made from, among those its provider has there; None: the provider's own choice.
    """

    slot: str
    provider: str
    host: str
    ports: tuple[PortAttachment, ...]
    section: Wire
    digest: str
    image: str | None = None
    #: Made beside an instance that has its ports on that host: it is not plugged in until it is cut over to.
    standby: bool = False
    #: Instances of one slot and body but of two editions are two: an upgrade wishes for another. None: any will do.
    edition: str | None = None


@dataclass(frozen=True, slots=True)
class Present:
    """The resource exists and wants these instances. `revision` is the snapshot's.

    `unmet` says in words why there can be no instance yet (no node available, no port bound); the
    resource then waits instead of failing.
    """

    revision: int
    project_id: str
    name: str
    instances: tuple[DesiredInstance, ...]
    status: StatusTargets
    unmet: str | None = None
    binding: Binding | None = None


@dataclass(frozen=True, slots=True)
class Absent:
    """The resource does not exist (any more), or is not ours to serve: no instance may remain."""

    revision: int


@dataclass(frozen=True, slots=True)
class PortNeeded:
    """The resource exists but its service port does not: it must be made before anything else."""

    revision: int
    network_id: str
    host: str


DesiredState: TypeAlias = Present | Absent | PortNeeded


@dataclass(frozen=True, slots=True)
class StatusTargets:
    """Where Neutron shows the status of this resource, with the statuses it shows now."""

    routers: tuple[tuple[str, str], ...] = ()
    ports: tuple[tuple[str, str], ...] = ()
    floating_ips: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Binding:
    """Of a router that is a pair: the nodes its ports are bound to in Neutron. They follow the active half."""

    router_id: str
    hosts: tuple[str, ...]


class Unknown(enum.Enum):
    """A value for what could not be asked: the world may be anything."""

    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class ObservedInstance:
    """One instance as its provider and its agent see it. `state` is UNREACHABLE when the agent did not answer."""

    id: str
    slot: str
    provider: str
    host: str
    ports: tuple[PortAttachment, ...]
    state: StateView | Unknown
    created_at: float
    #: Whose it is: every provider fills it in from the instance's own metadata (bulk listings are useless without).
    key: ResourceKey | None = None
    #: The image it was asked to be made from (DesiredInstance.image), and the digest of the one it says it runs.
    image: str | None = None
    image_digest: str | None = None
    #: It is time for another credential.
    credential_due: bool = False
    #: It has its interfaces, and no network behind them: another instance on its host has the ports.
    standby: bool = False
    #: The one it was made as (DesiredInstance.edition); "": none was asked for. None: its provider does not tell.
    edition: str | None = None

    @property
    def health(self) -> Health | None:
        """What its agent says; None while that does not answer."""
        return self.state.health if isinstance(self.state, StateView) else None

    @property
    def role(self) -> Role | None:
        """Which half of a pair it is now; None of what is no half, or does not answer."""
        return self.state.role if isinstance(self.state, StateView) else None


@dataclass(frozen=True, slots=True)
class ObservedState:
    """Every instance found for one key, and the hosts that could not be asked."""

    instances: tuple[ObservedInstance, ...] = ()
    unreachable_hosts: frozenset[str] = field(default_factory=frozenset)
