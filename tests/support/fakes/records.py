"""Records in memory, or none at all when the disk is full."""

from __future__ import annotations

from dataclasses import dataclass, field

from astara.model.errors import Retry
from astara.model.operator import HistoryLine
from astara.model.resource import ResourceKey


@dataclass
class FakeRecords:
    """Implements reconcile.boundaries.Records."""

    held: dict[ResourceKey, str] = field(default_factory=dict)
    chosen: dict[ResourceKey, str] = field(default_factory=dict)
    lines: dict[ResourceKey, list[HistoryLine]] = field(default_factory=dict)
    term: int = 0
    disk_full: bool = False

    def next_term(self) -> int:
        self.term += 1
        return self.term

    def holds(self) -> dict[ResourceKey, str]:
        return dict(self.held)

    def hold(self, key: ResourceKey, reason: str) -> None:
        if self.disk_full:
            raise Retry("the hold is not durable: disk full")
        self.held[key] = reason

    def release(self, key: ResourceKey) -> None:
        self.held.pop(key, None)

    def bodies(self) -> dict[ResourceKey, str]:
        return dict(self.chosen)

    def choose_body(self, key: ResourceKey, body: str) -> None:
        if self.disk_full:
            raise Retry("the choice is not durable: disk full")
        self.chosen[key] = body

    def forget_body(self, key: ResourceKey) -> None:
        self.chosen.pop(key, None)

    def append(self, key: ResourceKey, line: HistoryLine) -> None:
        if not self.disk_full:
            self.lines.setdefault(key, []).append(line)

    def history(self, key: ResourceKey) -> list[HistoryLine]:
        return [] if self.disk_full else self.lines.get(key, [])
