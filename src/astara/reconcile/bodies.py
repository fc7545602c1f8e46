"""Bodies operators chose for single resources, here or at another orchestrator."""

from __future__ import annotations

from collections.abc import Callable

from astara.model.errors import Terminal
from astara.model.resource import DesiredState, ResourceKey
from astara.planning.bodies import Offers, housed, objection
from astara.reconcile.boundaries import NoUpgrades, Records
from astara.reconcile.editions import Editions
from astara.reconcile.said import Said


class Bodies:
    """Thread-safe. `reread` reads the durable choices, like `Holds`; `offers` is asked at every look."""

    def __init__(self, records: Records, offers: Callable[[], Offers], editions: Editions | None = None) -> None:
        self._records = records
        self._offers = offers
        self.editions = editions or Editions(NoUpgrades())
        self._said = Said()

    def choose(self, key: ResourceKey, body: str | None) -> None:
        """Run the resource in `body` from now on, None: in the one its driver wishes.

        Raises:
            Terminal: there is no such body to be had; says what to do.
            Retry: it is in force, but will not survive a restart.
        """
        if body is not None and (why := objection(body, None, self._offers())) is not None:
            reason, _, remedy = why.partition(": ")
            raise Terminal(reason, remedy)
        self._said.say(key, body, lambda: self._write(key, body))

    def reread(self) -> frozenset[ResourceKey] | None:
        """Return whose body changed, None: read again. Raises BadConfiguration when they cannot be read."""
        return self._said.read(self._records.bodies)

    def say_again(self) -> None:
        """The records were lost: write all that is known with the next `write_again`."""
        self._said.say_again()

    def write_again(self) -> None:
        """Write what could not be written; raises Retry."""
        self._said.write_again(self._write)

    @property
    def unwritten(self) -> int:
        """How many a restart would lose."""
        return self._said.unwritten

    def chosen(self, key: ResourceKey) -> str | None:
        return self._said.word(key)

    def housed(self, key: ResourceKey, desired: DesiredState) -> DesiredState:
        """Return the wish with the body and the edition it shall have; see planning.bodies, planning.editions."""
        return self.editions.edited(key, self.as_said(key, desired))

    def as_said(self, key: ResourceKey, desired: DesiredState) -> DesiredState:
        """Return the wish with the body it shall have, as if nothing had ever been upgraded."""
        return housed(desired, self.chosen(key), self._offers())

    def _write(self, key: ResourceKey, body: str | None) -> None:
        if body is None:
            self._records.forget_body(key)
        else:
            self._records.choose_body(key, body)
