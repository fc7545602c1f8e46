"""What upgrades wish of resources, as this process last read it."""

from __future__ import annotations

from astara.model.resource import DesiredState, ResourceKey
from astara.model.upgrade import Edition
from astara.planning.editions import edited
from astara.reconcile.boundaries import Upgrades


class Editions:
    """Thread-safe: a reading takes the place of the one before as a whole. What was read stays while nobody answers."""

    def __init__(self, upgrades: Upgrades) -> None:
        self._upgrades = upgrades
        self._known: dict[ResourceKey, Edition] = {}

    def reread(self) -> frozenset[ResourceKey]:
        """Return of which resources it changed; raises Retry."""
        known = self._upgrades.editions()
        changed = frozenset(key for key, _ in known.items() ^ self._known.items())
        self._known = known
        return changed

    def edited(self, key: ResourceKey, desired: DesiredState) -> DesiredState:
        """Return the wish with what an upgrade wishes; see planning.editions."""
        return edited(desired, self._known.get(key))
