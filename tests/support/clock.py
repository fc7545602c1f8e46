"""Time that tests own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class VirtualClock:
    """Implements model.boundaries.Clock; moves only by `advance`."""

    at: float = 1000.0
    epoch: float = 1_700_000_000.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.epoch + self.at

    def advance(self, seconds: float) -> None:
        assert seconds >= 0
        self.at += seconds
