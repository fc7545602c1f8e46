"""What a pool tells of itself, in numbers."""

from __future__ import annotations

from typing import Protocol


class PoolMetrics(Protocol):
    """`kind` is a provider's name. Nothing here may fail or wait."""

    def pool_request(self, kind: str, outcome: str) -> None:
        """Count a request; `outcome` is "hit" or "miss"."""
        ...

    def pool_refill(self, kind: str, duration_s: float) -> None:
        """Count a spare that became ready, and how long that took."""
        ...

    def crashed(self, thread: str) -> None:
        """Count an exception nobody foresaw; `thread` is "pool"."""
        ...


class NoPoolMetrics:
    """Counts nothing."""

    def pool_request(self, kind: str, outcome: str) -> None:
        """Ignore."""

    def pool_refill(self, kind: str, duration_s: float) -> None:
        """Ignore."""

    def crashed(self, thread: str) -> None:
        """Ignore."""
