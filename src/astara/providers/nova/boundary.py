"""The cloud as this provider sees it. `sdk.py` is the real one; every method may raise the errors of model.errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Nic:
    """A Neutron port of ours. `server_id` is None until it is plugged; `addresses` are without prefix length."""

    id: str
    mark: NicMark
    mac: str
    server_id: str | None
    addresses: tuple[str, ...]
    created_at: float


@dataclass(frozen=True, slots=True)
class NewServer:
    """`papers` is what the config drive holds for the agent; nobody can read it again."""

    mark: Mark
    nics: tuple[str, ...]  # ids of ports, the management port first
    papers: bytes
    group: str | None = None


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

    def console_log(self, server_id: str) -> str: ...
