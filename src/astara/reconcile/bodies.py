"""Bodies operators chose for single resources; durable in the records, answered from memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

from astara.model.errors import Terminal
from astara.model.resource import DesiredState, ResourceKey
from astara.planning.bodies import Offers, housed, objection
from astara.reconcile.boundaries import Records


class Bodies:
    """Thread-safe. `load` reads the durable choices once, at start; `offers` is asked at every look."""

    def __init__(self, records: Records, offers: Callable[[], Offers]) -> None:
        self._records = records
        self._offers = offers
        self._lock = threading.Lock()
        self._chosen: dict[ResourceKey, str] = {}

    def load(self) -> None:
        chosen = self._records.bodies()
        with self._lock:
            self._chosen.update(chosen)

    def choose(self, key: ResourceKey, body: str | None) -> None:
        """Run the resource in `body` from now on, None: in the one its driver wishes.

        Raises:
            Terminal: there is no such body to be had; says what to do.
            Retry: it is in force, but will not survive a restart.
        """
        if body is not None and (why := objection(body, None, self._offers())) is not None:
            reason, _, remedy = why.partition(": ")
            raise Terminal(reason, remedy)
        with self._lock:
            if body is None:
                self._chosen.pop(key, None)
            else:
                self._chosen[key] = body
        if body is None:
            self._records.forget_body(key)
        else:
            self._records.choose_body(key, body)

    def chosen(self, key: ResourceKey) -> str | None:
        with self._lock:
            return self._chosen.get(key)

    def housed(self, key: ResourceKey, desired: DesiredState) -> DesiredState:
        """Return the wish with the body it shall have; see planning.bodies."""
        return housed(desired, self.chosen(key), self._offers())
