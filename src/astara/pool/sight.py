"""What an operator is shown of a shelf, and what went wrong with it lately."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from astara.model.errors import AstaraError
from astara.model.operator import PoolLine
from astara.pool.deficit import Shelf, Size, Standing
from astara.pool.options import PoolOptions
from astara.pool.stock import Stock


@dataclass(frozen=True, slots=True)
class Sight:
    """One shelf as last seen. `away`: its host did not answer."""

    standings: tuple[Standing, ...]
    wanted: int
    away: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """`not_before` is monotonic seconds."""

    failures: int
    not_before: float
    because: str


class Troubles:
    """Failures in a row, by shelf, and when to dare again. Safe for many threads."""

    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        self._mutex = threading.Lock()
        self._by_shelf: dict[Shelf, Trouble] = {}

    def failed(self, shelf: Shelf, error: AstaraError, now: float) -> bool:
        """Note a failure; returns whether that is news. Several within one delay are one."""
        because = f"{error} ({error.remedy})" if error.remedy else str(error)
        with self._mutex:
            before = self._by_shelf.get(shelf)
            if before is not None and now < before.not_before:
                return False
            failures = 1 if before is None else before.failures + 1
            # The exponent is bounded so that a shelf failing for months cannot overflow.
            delay_s = min(self._options.retry_cap_s, self._options.retry_first_s * 2.0 ** min(failures - 1, 32))
            self._by_shelf[shelf] = Trouble(failures, now + delay_s, because)
            return before is None or before.because != because

    def held_back(self, shelf: Shelf, now: float) -> bool:
        trouble = self.of(shelf)
        return trouble is not None and now < trouble.not_before

    def over(self, shelf: Shelf) -> None:
        with self._mutex:
            self._by_shelf.pop(shelf, None)

    def of(self, shelf: Shelf) -> Trouble | None:
        with self._mutex:
            return self._by_shelf.get(shelf)

    def due(self) -> tuple[float, ...]:
        """Return when each failing shelf may be tried again."""
        with self._mutex:
            return tuple(trouble.not_before for trouble in self._by_shelf.values())


def line(shelf: Shelf, sight: Sight, stock: Stock, trouble: Trouble | None, now: float, *, yields: bool) -> PoolLine:
    """Return one shelf in words and numbers."""
    size, account = stock.size(shelf) or Size(0, 0), stock.account(shelf)
    ready, coming = (sight.standings.count(one) for one in (Standing.READY, Standing.COMING))
    state, because = _state(sight, trouble, now, missing=sight.wanted - ready, yields=yields)
    return PoolLine(
        provider=shelf.provider,
        host=shelf.host,
        image=shelf.image,
        nics=shelf.nics,
        floor=size.floor,
        ceiling=size.ceiling,
        wanted=sight.wanted,
        ready=ready,
        coming=coming,
        hits=account.hits,
        misses=account.misses,
        refill_s=account.refill_s,
        state=state,
        because=because,
    )


def _state(sight: Sight, trouble: Trouble | None, now: float, *, missing: int, yields: bool) -> tuple[str, str]:
    if sight.away:
        return "away", "the host does not answer"
    if trouble is not None:
        return (
            "failing",
            f"{trouble.because}; tried {trouble.failures} times, again in {trouble.not_before - now:.0f} s",
        )
    if missing <= 0:
        return "ok", ""
    if yields:
        return "waiting", "instances somebody asked for are made first"
    return "refilling", f"{missing} of {sight.wanted} are missing"
