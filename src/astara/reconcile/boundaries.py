"""What the engine needs beyond `model.boundaries`: who owns what, durable records, metrics. None of them stops it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from astara.model.errors import Gone, Terminal
from astara.model.operator import AuditLine, AuditQuery, HistoryLine
from astara.model.resource import ResourceKey
from astara.model.upgrade import Edition, Item, State, Upgrade, UpgradeWish
from astara.planning.rollout import Decision


class Records(Protocol):
    """What must survive a restart. Nothing here ever blocks or stops reconciling once it has begun."""

    def next_term(self) -> int:
        """Return a term greater than every one returned before, also by earlier processes."""
        ...

    def holds(self) -> dict[ResourceKey, str]:
        """Return every hold with its reason; raises BadConfiguration when they are there and cannot be read."""
        ...

    def hold(self, key: ResourceKey, reason: str) -> None:
        """Make a hold durable; raises Retry when it could not be written, because the operator must know."""
        ...

    def release(self, key: ResourceKey) -> None:
        """Remove a hold; absence is success. Raises Retry like `hold`."""
        ...

    def bodies(self) -> dict[ResourceKey, str]:
        """Return every body an operator chose; raises BadConfiguration like `holds`."""
        ...

    def choose_body(self, key: ResourceKey, body: str) -> None:
        """Make an operator's choice of body durable; raises Retry like `hold`."""
        ...

    def forget_body(self, key: ResourceKey) -> None:
        """Remove a choice; absence is success. Raises Retry like `hold`."""
        ...

    def revision(self) -> int:
        """Return a number that changes whenever a hold or a body does, whoever said it; cheap. Raises Retry.

        0: nothing was ever said, or the records were lost.
        """
        ...

    def claim(self, key: ResourceKey, slot: str, term: int) -> None:
        """Note that `term` makes the instance of this slot; of two that do, the greater term is obeyed.

        For providers whose instances nobody can refuse to make (they do not say "fenced"). Raises Stale when a greater
        term has claimed it, Retry when that cannot be known.
        """
        ...

    def append(self, key: ResourceKey | None, line: HistoryLine) -> None:
        """Remember what happened, None: to no single resource; never raises, never waits, may drop the oldest."""
        ...

    def history(self, key: ResourceKey) -> Sequence[HistoryLine]:
        """Return the newest lines of one resource, oldest first; empty when they cannot be read."""
        ...

    def audit(self, query: AuditQuery) -> Sequence[AuditLine]:
        """Return the newest lines asked for, oldest first; raises Retry when they cannot be read."""
        ...


class Upgrades(Protocol):
    """Upgrades in the records. Every method raises Retry while they cannot be read or written."""

    def newest(self) -> Upgrade | None:
        """Return the last one asked for, also when it is over; one row."""
        ...

    def items(self, number: int) -> Sequence[Item]:
        """Return its resources in the order in which they are begun."""
        ...

    def editions(self) -> dict[ResourceKey, Edition]:
        """Return what upgrades wish of resources; `Records.revision` changes whenever this does."""
        ...

    def begin(self, wish: UpgradeWish, by: str) -> Upgrade:
        """Record a new one, or return the one under way for the same wish; raises Terminal when another one is."""
        ...

    def say(self, state: State, why: str) -> Upgrade:
        """Pause, resume or abort what is under way; twice is once. Raises Gone when nothing is."""
        ...

    def abort(self, by: str, *, back: bool) -> Upgrade:
        """End it; `back`: what was begun goes back, as an upgrade of its own (returned). Raises Gone, Terminal."""
        ...

    def collect(
        self, number: int, term: int, items: Sequence[Item], baseline: float, known: Collection[ResourceKey] | None
    ) -> None:
        """Record, once, which resources it concerns; raises Stale when a greater term has decided.

        `known`: every resource there is; of others no edition is wished any more. None: not asked.
        """
        ...

    def advance(self, upgrade: Upgrade, term: int, decision: Decision) -> Decision:
        """Carry a decision out in one transaction, as far as it still runs; returns what was carried out.

        Raises Stale like `collect`.
        """
        ...


class NoUpgrades:
    """Where nothing is ever upgraded: engines in tests and benchmarks."""

    def newest(self) -> Upgrade | None:
        return None

    def items(self, number: int) -> Sequence[Item]:
        return ()

    def editions(self) -> dict[ResourceKey, Edition]:
        return {}

    def begin(self, wish: UpgradeWish, by: str) -> Upgrade:
        raise Terminal("upgrades are not recorded here", "give the engine records that keep them")

    def say(self, state: State, why: str) -> Upgrade:
        raise Gone("no upgrade is under way")

    def abort(self, by: str, *, back: bool) -> Upgrade:
        raise Gone("no upgrade is under way")

    def collect(
        self, number: int, term: int, items: Sequence[Item], baseline: float, known: Collection[ResourceKey] | None
    ) -> None:
        """Nothing to record."""

    def advance(self, upgrade: Upgrade, term: int, decision: Decision) -> Decision:
        return Decision()


class Ownership(Protocol):
    """Which keys this process may work on. Answers from memory, at once."""

    @property
    def epoch(self) -> int:
        """The greatest term this process knows; 0 before the first."""
        ...

    def owns(self, key: ResourceKey) -> bool:
        """Return whether the key is this process's to look at; also while it may not act for a moment."""
        ...

    def term(self, key: ResourceKey) -> int | None:
        """Return the term under which it may act on the key now; None: it may not."""
        ...

    def refused(self) -> None:
        """Tell that somebody refused our term: there may be a newer one."""
        ...


class Metrics(Protocol):
    """Numbers about the engine. Label values are from small closed sets; durations are seconds."""

    def event(self, kind: str, keys: int) -> None:
        """Count one notification (`kind` is its type) and how many resources it named."""
        ...

    def reconciled(self, driver: str, phase: str, outcome: str, duration_s: float) -> None: ...

    def step(self, kind: str, outcome: str, duration_s: float) -> None: ...

    def call(self, api: str, batch: int, duration_s: float) -> None:
        """Count one merged remote call, e.g. api "neutron.routers", and how many requests it served."""
        ...

    def resynced(self, kind: str, resources: int, queued: int, duration_s: float) -> None:
        """Count one background look; `kind` is "full", "changes" or "drift"."""
        ...

    def crashed(self, thread: str) -> None:
        """Count an exception that nobody foresaw; `thread` is "worker", "resync", "nodes", "node-feed" or a feed's."""
        ...


class NoMetrics:
    """Counts nothing."""

    def event(self, kind: str, keys: int) -> None:
        """Ignore."""

    def reconciled(self, driver: str, phase: str, outcome: str, duration_s: float) -> None:
        """Ignore."""

    def step(self, kind: str, outcome: str, duration_s: float) -> None:
        """Ignore."""

    def call(self, api: str, batch: int, duration_s: float) -> None:
        """Ignore."""

    def resynced(self, kind: str, resources: int, queued: int, duration_s: float) -> None:
        """Ignore."""

    def crashed(self, thread: str) -> None:
        """Ignore."""
