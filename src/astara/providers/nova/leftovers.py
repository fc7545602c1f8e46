"""Ports of ours that no server has, nor will: of servers deleted meanwhile, of creations that were cut short."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from astara.model.resource import ResourceKey
from astara.providers.nova.boundary import Cloud, Nic, Server
from astara.providers.nova.plugging import Plugging

#: A port whose server was never seen may be of a creation that is under way elsewhere, for so long.
_ORPHAN_S = 600.0


class Leftovers:
    """Nova takes no port away that it was given. Those of servers this process knew go as soon as Nova lets go of them.

    `wall` is seconds since the epoch.
    """

    def __init__(self, cloud: Cloud, plugging: Plugging, wall: Callable[[], float]) -> None:
        self._cloud = cloud
        self._plugging = plugging
        self._wall = wall
        self._known: dict[str, ResourceKey] = {}
        self._doomed: set[str] = set()

    def note(self, server: Server) -> None:
        self._known[server.mark.instance] = server.mark.key

    def doom(self, instance: str) -> None:
        """Its server has been deleted by us."""
        self._known.pop(instance, None)
        self._doomed.add(instance)

    def missed(self, key: ResourceKey | None, servers: Sequence[Server]) -> frozenset[str]:
        """Compare what was listed for `key` (None: all) with what was known; return who has no server any more."""
        seen = {server.mark.instance for server in servers}
        absent = {one for one, whose in tuple(self._known.items()) if key in (None, whose) and one not in seen}
        if absent:
            # One that has become another resource's is elsewhere, not gone.
            absent -= {server.mark.instance for server in self._cloud.servers()}
        for instance in absent:
            self.doom(instance)
        return frozenset(absent)

    @property
    def expected(self) -> bool:
        return bool(self._doomed)

    def sweep(self, nics: Iterable[Nic]) -> None:
        free = [nic for nic in nics if nic.server_id is None]
        self._plugging.forsake(nic for nic in free if nic.mark.instance in self._doomed)
        old = [nic for nic in free if self._wall() - nic.created_at > _ORPHAN_S]
        living = {server.mark.instance for server in self._cloud.servers()} if old else set()
        self._plugging.forsake(nic for nic in old if nic.mark.instance not in living)
