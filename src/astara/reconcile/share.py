"""Which resources this process works on, and which it only knows of, because another one does."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from astara.model.resource import ResourceKey
from astara.reconcile.boundaries import Ownership


class SoleOwner:
    """Implements boundaries.Ownership for a process that is alone: everything is its own, for ever."""

    def __init__(self, term: int) -> None:
        self.epoch = term

    def owns(self, key: ResourceKey) -> bool:
        return True

    def term(self, key: ResourceKey) -> int | None:
        return self.epoch

    def refused(self) -> None:
        """Nothing newer is known to anybody who would tell."""


class Share:
    """Thread-safe. Everything that could be looked at passes `takes`; so what is another's is known by name.

    When the ring changes, the names that became ours are at hand: nobody is asked for all there is.
    """

    def __init__(self, ownership: Ownership) -> None:
        self.ownership = ownership
        self._lock = threading.Lock()
        self._elsewhere: set[ResourceKey] = set()

    def takes(self, key: ResourceKey) -> bool:
        """Return whether the key is ours to work on; if not, remember that it exists."""
        if self.ownership.owns(key):
            return True
        with self._lock:
            self._elsewhere.add(key)
        # The ring may have changed between the question and the note: whoever collected the moved ones missed this one.
        return self.ownership.owns(key) and self._reclaim(key)

    def gained(self) -> tuple[ResourceKey, ...]:
        """Return the keys that were another's and are ours now, once."""
        with self._lock:
            mine = tuple(key for key in self._elsewhere if self.ownership.owns(key))
            self._elsewhere.difference_update(mine)
        return mine

    def elsewhere(self) -> tuple[ResourceKey, ...]:
        """Return the keys that are another's, as far as they are known here."""
        with self._lock:
            return tuple(self._elsewhere)

    def forget(self, keys: Iterable[ResourceKey]) -> None:
        """These exist no more."""
        with self._lock:
            self._elsewhere.difference_update(keys)

    def _reclaim(self, key: ResourceKey) -> bool:
        with self._lock:
            known = key in self._elsewhere
            self._elsewhere.discard(key)
        return known
