"""The cloud as this provider sees it. `sdk.py` is the real one; every method may raise the errors of model.errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from astara.model.resource import ResourceKey
from astara.providers.nova.marks import Mark, NicMark


@dataclass(frozen=True, slots=True)
class Server:
    """A server of ours. `fault`: why Nova could not make it or keep it; None while it could.

    `building`: Nova makes it and waits for its ports; without them it would wait for minutes before it can be deleted.
    """

    id: str
    mark: Mark
    created_at: float  # seconds since the epoch
    fault: str | None = None
    building: bool = False
    #: Nova's word for where it is: equal for servers on one hypervisor, says nothing else. None: nowhere yet.
    hypervisor: str | None = None

    def given(self, mark: Mark) -> Server:
        """Return it as somebody else's."""
        return replace(self, mark=mark)


@dataclass(frozen=True, slots=True)
class Subnet:
    """`gateway` is the way out of it, None where there is none."""

    cidr: str
    gateway: str | None


@dataclass(frozen=True, slots=True)
class Nic:
    """A Neutron port of ours. `server_id` is None until it is plugged; `addresses` are without prefix length.

    `subnets` are the ids of their subnets, in the same order.
    """

    id: str
    mark: NicMark
    mac: str
    server_id: str | None
    addresses: tuple[str, ...]
    created_at: float
    subnets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewServer:
    """`papers` is what the config drive holds for the agent; nobody can read it again."""

    mark: Mark
    nics: tuple[str, ...]  # ids of ports, the management port first
    papers: bytes
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the cloud must have. `remedy` is None where it has it."""

    what: str
    detail: str
    remedy: str | None = None


class Cloud(Protocol):
    """Nova, and Neutron where Nova's servers are plugged."""

    def servers(self, key: ResourceKey | None = None) -> Sequence[Server]:
        """Return our servers that are not being deleted, of one resource or all."""
        ...

    def nics(self) -> Sequence[Nic]: ...

    def create_server(self, new: NewServer) -> Server: ...

    def delete_server(self, server_id: str) -> None:
        """Absence is success."""
        ...

    def create_nic(self, mark: NicMark) -> Nic:
        """Make a port on the network of `mark`, on the management network when it names none."""
        ...

    def delete_nic(self, nic_id: str) -> None:
        """Absence is success."""
        ...

    def plug(self, server_id: str, nic_id: str) -> None: ...

    def unplug(self, server_id: str, nic_id: str) -> None:
        """Absence is success."""
        ...

    def ensure_group(self, key: ResourceKey) -> str | None:
        """Return the id of the resource's server group, which keeps its slots on different hosts where it can."""
        ...

    def delete_group(self, key: ResourceKey) -> None:
        """Absence is success."""
        ...

    def mark(self, server_id: str, mark: Mark) -> None:
        """Make a server somebody else's: both resources find it from the first moment on, `mark` says whose it is."""
        ...

    def rename(self, server_id: str, mark: Mark, was: ResourceKey) -> None:
        """Tidy up after `mark`: the name for people, and what the earlier resource found it by. May fail quietly."""
        ...

    def subnet(self, subnet_id: str) -> Subnet: ...

    def image_digest(self, image: str | None) -> str | None:
        """Return the digest an image says its agent will report, None when it says none. Raises Terminal: no image."""
        ...

    def shortcomings(self) -> Iterator[Finding]:
        """Look at all that is needed of the cloud, one after the other."""
        ...

    def console_log(self, server_id: str) -> str: ...
