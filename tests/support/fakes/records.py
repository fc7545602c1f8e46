"""Records in memory, or none at all when the disk is full."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import structs

from astara.model.errors import Retry, Stale
from astara.model.operator import AuditLine, AuditQuery, HistoryLine
from astara.model.resource import ResourceKey


@dataclass
class FakeRecords:
    """Implements reconcile.boundaries.Records."""

    held: dict[ResourceKey, str] = field(default_factory=dict)
    chosen: dict[ResourceKey, str] = field(default_factory=dict)
    lines: list[tuple[ResourceKey | None, HistoryLine]] = field(default_factory=list)
    said: int = 0
    term: int = 0
    disk_full: bool = False
    claims: dict[tuple[ResourceKey, str], int] = field(default_factory=dict)

    def next_term(self) -> int:
        self.term += 1
        return self.term

    def holds(self) -> dict[ResourceKey, str]:
        return dict(self.held)

    def hold(self, key: ResourceKey, reason: str) -> None:
        if self.disk_full:
            raise Retry("the hold is not durable: disk full")
        self.held[key] = reason
        self.said += 1

    def release(self, key: ResourceKey) -> None:
        if self.disk_full:
            raise Retry("the release is not durable: disk full")
        self.held.pop(key, None)
        self.said += 1

    def bodies(self) -> dict[ResourceKey, str]:
        return dict(self.chosen)

    def choose_body(self, key: ResourceKey, body: str) -> None:
        if self.disk_full:
            raise Retry("the choice is not durable: disk full")
        self.chosen[key] = body
        self.said += 1

    def forget_body(self, key: ResourceKey) -> None:
        self.chosen.pop(key, None)
        self.said += 1

    def revision(self) -> int:
        if self.disk_full:
            raise Retry("cannot be read: disk full")
        return self.said

    def claim(self, key: ResourceKey, slot: str, term: int) -> None:
        if self.disk_full:
            raise Retry("the claim cannot be written: disk full")
        if self.claims.get((key, slot), 0) > term:
            raise Stale(f"{key} slot {slot} is claimed under a newer term")
        self.claims[key, slot] = term

    def append(self, key: ResourceKey | None, line: HistoryLine) -> None:
        if not self.disk_full:
            self.lines.append((key, line))

    def history(self, key: ResourceKey, limit: int = 100) -> list[HistoryLine]:
        return [] if self.disk_full else [line for of, line in self.lines if of == key][-limit:]

    def audit(self, query: AuditQuery) -> list[AuditLine]:
        if self.disk_full:
            raise Retry("cannot be read: disk full")
        found = [
            AuditLine(resource="" if key is None else str(key), **structs.asdict(line))
            for key, line in self.lines
            if query.resource in (None, "" if key is None else str(key))
            and query.outcome in (None, line.outcome)
            and (query.who is None or query.who in line.who)
            and (query.since is None or line.at >= query.since)
        ]
        return found[-query.limit :]
