"""Resources an operator has taken into his own hands; durable in the records, answered from memory."""

from __future__ import annotations

import threading

from astara.model.resource import ResourceKey
from astara.reconcile.boundaries import Records


class Holds:
    """Thread-safe. `load` reads the durable ones once, at start."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._lock = threading.Lock()
        self._reasons: dict[ResourceKey, str] = {}

    def load(self) -> None:
        reasons = self._records.holds()
        with self._lock:
            self._reasons.update(reasons)

    def hold(self, key: ResourceKey, reason: str) -> None:
        """Hold at once, and durably; raises Retry when it will not survive a restart."""
        with self._lock:
            self._reasons[key] = reason
        self._records.hold(key, reason)

    def release(self, key: ResourceKey) -> None:
        with self._lock:
            self._reasons.pop(key, None)
        self._records.release(key)

    def reason(self, key: ResourceKey) -> str | None:
        with self._lock:
            return self._reasons.get(key)

    def all(self) -> dict[ResourceKey, str]:
        with self._lock:
            return dict(self._reasons)
