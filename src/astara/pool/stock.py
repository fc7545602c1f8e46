"""What is known of every shelf, in memory: a hint for those who take, true for nobody. Safe for many threads."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from astara.model.boundaries import Clock
from astara.model.resource import ObservedInstance
from astara.pool.deficit import Shelf, Size
from astara.pool.demand import Demand, found, needed, requested
from astara.pool.options import Kind, PoolOptions

#: How much of the measured refill time is the last one's.
_NEWEST_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Account:
    """One shelf in numbers. `refill_s` None: none was made yet."""

    hits: int = 0
    misses: int = 0
    refill_s: float | None = None


@dataclass(slots=True)
class _Page:
    ready: list[ObservedInstance] = field(default_factory=list)
    demand: Demand = field(default_factory=Demand)
    seen: bool = False
    account: Account = field(default_factory=Account)


class Stock:
    """`take` never waits and asks nobody; whether a spare is really there, its adoption shows."""

    def __init__(self, options: PoolOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._mutex = threading.Lock()
        self._pages: dict[Shelf, _Page] = {}
        self._taken: dict[str, float] = {}
        self._at_work: Counter[str] = Counter()

    def size(self, shelf: Shelf) -> Size | None:
        """Return what the operator allows; None: no spares of this are kept."""
        return self._options.sizes.get(Kind(shelf.provider, shelf.image, shelf.nics))

    # Who takes

    def requested(self, shelf: Shelf) -> None:
        """Note that somebody wants one."""
        size = self.size(shelf)
        if size is None or not size.ceiling:
            return
        with self._mutex:
            page, now = self._page(shelf), self._clock.now()
            refill_s = page.account.refill_s or self._options.refill_guess_s
            page.demand = requested(page.demand, now, refill_s, self._options.demand, size.ceiling)

    def take(self, shelf: Shelf) -> ObservedInstance | None:
        """Take the oldest spare off the shelf; nobody else gets it from here."""
        with self._mutex:
            ready = self._page(shelf).ready
            if not ready:
                return None
            spare = ready.pop(0)
            self._taken[spare.id] = self._clock.now()
            return spare

    def served(self, shelf: Shelf, *, warm: bool) -> None:
        with self._mutex:
            page = self._page(shelf)
            old = page.account
            page.account = Account(old.hits + warm, old.misses + (not warm), old.refill_s)

    @contextmanager
    def working(self, host: str) -> Iterator[None]:
        """Say that real work is done on a host meanwhile."""
        with self._mutex:
            self._at_work[host] += 1
        try:
            yield
        finally:
            with self._mutex:
                self._at_work[host] -= 1

    # Who fills

    def busy(self, host: str) -> bool:
        """Return whether instances are being made for somebody on that host."""
        with self._mutex:
            return self._at_work[host] > 0

    def restock(self, ready: Mapping[Shelf, Sequence[ObservedInstance]], since: float) -> None:
        """Replace all that is known by a listing begun at `since`; what was taken meanwhile is not put back."""
        with self._mutex:
            self._taken = {spare: at for spare, at in self._taken.items() if at >= since}
            for page in self._pages.values():
                page.ready = []
            for shelf, spares in ready.items():
                page = self._page(shelf)
                page.ready = [spare for spare in spares if spare.id not in self._taken]

    def found(self, shelf: Shelf, spares: int) -> None:
        """Note how many there are; what the first look finds was needed before this process began."""
        with self._mutex:
            page = self._page(shelf)
            if not page.seen:
                page.seen = True
                page.demand = found(page.demand, spares, self._clock.now(), self._options.demand)

    def add(self, shelf: Shelf, spare: ObservedInstance) -> None:
        with self._mutex:
            self._page(shelf).ready.append(spare)

    def refilled(self, shelf: Shelf, duration_s: float) -> None:
        """Note how long a spare took from the wish to its first answer."""
        with self._mutex:
            page = self._page(shelf)
            old = page.account
            before = duration_s if old.refill_s is None else old.refill_s
            refill_s = before + _NEWEST_SHARE * (duration_s - before)
            page.account = Account(old.hits, old.misses, refill_s)

    def wanted(self, shelf: Shelf) -> int:
        """Return how many spares the shelf should hold now."""
        size = self.size(shelf)
        if size is None:
            return 0
        with self._mutex:
            demand = self._page(shelf).demand
        return size.within(needed(demand, self._clock.now(), self._options.demand))

    def account(self, shelf: Shelf) -> Account:
        with self._mutex:
            return self._page(shelf).account

    def _page(self, shelf: Shelf) -> _Page:
        return self._pages.setdefault(shelf, _Page())
