"""What keeps a call from being carried out: somebody newer was here, or the cloud has no room and said so."""

from __future__ import annotations

import threading
from collections.abc import Callable

from astara.contract.generation import Generation
from astara.model.errors import Stale
from astara.model.resource import ResourceKey
from astara.providers.nova import refusals
from astara.providers.nova.boundary import Server


class Fences:
    """The newest generation this process saw for each resource: what is older comes too late. Agents keep their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[ResourceKey, Generation] = {}

    def admit(self, key: ResourceKey, generation: Generation) -> None:
        """Raises Stale."""
        with self._lock:
            newest = self._newest.get(key)
            if newest is not None and generation < newest:
                raise Stale(f"{key}: generation {generation} is older than {newest}")
            self._newest[key] = generation


class Room:
    """Slots for which no hypervisor had room, for a while. `wall` is seconds since the epoch."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._none_until: dict[tuple[ResourceKey, str], tuple[float, str]] = {}

    def note(self, server: Server) -> None:
        """A server without a hypervisor is no accident of that server: the next would fail for the same reason."""
        if server.fault is not None and refusals.is_capacity(server.fault):
            until = self._wall() + refusals.CAPACITY_AFTER_S
            self._none_until[server.mark.key, server.mark.slot] = (until, server.fault)

    def refuse_early(self, key: ResourceKey, slot: str) -> None:
        """Raises Retry."""
        until, fault = self._none_until.get((key, slot), (0.0, ""))
        if until > self._wall():
            raise refusals.no_room(fault, until - self._wall())
        self._none_until.pop((key, slot), None)
