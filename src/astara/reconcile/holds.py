"""Resources an operator has taken into his own hands, here or at another orchestrator."""

from __future__ import annotations

from astara.model.resource import ResourceKey
from astara.reconcile.boundaries import Records
from astara.reconcile.said import Said


class Holds:
    """Thread-safe. `reread` reads the durable ones, at start and when somebody said something elsewhere."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._said = Said()

    def hold(self, key: ResourceKey, reason: str) -> None:
        """Hold at once, and durably; raises Retry when it will not survive a restart."""
        self._said.say(key, reason, lambda: self._records.hold(key, reason))

    def release(self, key: ResourceKey) -> None:
        self._said.say(key, None, lambda: self._records.release(key))

    def reread(self) -> frozenset[ResourceKey] | None:
        """Return which changed, None: read again. Raises BadConfiguration when they cannot be read."""
        return self._said.read(self._records.holds)

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

    def reason(self, key: ResourceKey) -> str | None:
        return self._said.word(key)

    def all(self) -> dict[ResourceKey, str]:
        return self._said.all()

    def _write(self, key: ResourceKey, reason: str | None) -> None:
        if reason is None:
            self._records.release(key)
        else:
            self._records.hold(key, reason)
