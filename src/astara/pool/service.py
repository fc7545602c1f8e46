"""The pool as the runtime starts it: providers with spares in front, and the thread that keeps the shelves filled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import structlog

from astara.model.boundaries import AdoptingProvider, Clock, InstanceProvider
from astara.model.errors import BadConfiguration
from astara.model.operator import PoolLine
from astara.model.resource import ResourceKey
from astara.pool.boundaries import NoPoolMetrics, PoolMetrics
from astara.pool.keeper import Keeper
from astara.pool.options import PoolOptions
from astara.pool.provider import WarmProvider
from astara.pool.stock import Stock

_log = structlog.get_logger(__name__)


class Pool:
    """Runs from `start` to `stop`. `providers` is what the engine is given instead of those it was made with.

    `tell`: of every spare made or ended, in words.

    Raises:
        BadConfiguration: at construction, for a kind that is not enabled or cannot be kept warm.
    """

    def __init__(
        self,
        providers: Mapping[str, InstanceProvider],
        options: PoolOptions,
        clock: Clock,
        metrics: PoolMetrics | None = None,
        keeps: Callable[[str], bool] = lambda host: True,
        tell: Callable[[ResourceKey, str], None] = lambda key, what: None,
    ) -> None:
        kinds = {kind.provider for kind in options.sizes}
        _check(kinds, providers)
        adopting = {name: cast(AdoptingProvider, one) for name, one in providers.items() if _adopts(one)}
        self._metrics = metrics or NoPoolMetrics()
        self._options = options
        self._woken = threading.Event()
        self._ended = threading.Event()
        self._busy: Callable[[], bool] = lambda: False
        stock = Stock(options, clock)
        warm = {name: WarmProvider(adopting[name], stock, self.wake, self._metrics) for name in kinds}
        self.providers: dict[str, InstanceProvider] = {**providers, **warm}
        self._hands = ThreadPoolExecutor(options.threads, thread_name_prefix="pool-hand")
        self._keeper = Keeper(
            adopting,
            stock,
            options,
            clock,
            self._metrics,
            busy=lambda: self._busy(),
            submit=self._hands.submit,
            wake=self.wake,
            keeps=keeps,
            tell=tell,
        )
        self._thread = threading.Thread(target=self._run, name="pool", daemon=True)

    def start(self, busy: Callable[[], bool]) -> None:
        """Look at once, then again and again; `busy`: whether real work waits."""
        self._busy = busy
        self._thread.start()

    def stop(self) -> None:
        """Make no more; spares stay."""
        self._ended.set()
        self._woken.set()
        self._hands.shutdown(wait=False, cancel_futures=True)
        if self._thread.ident is not None:
            self._thread.join()

    def wake(self) -> None:
        """Something changed: look soon."""
        self._woken.set()

    def lines(self) -> tuple[PoolLine, ...]:
        """Return every shelf as last seen."""
        return self._keeper.lines()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._woken.clear()
            self._woken.wait(self._look())
            self._ended.wait(self._options.settle_s)

    def _look(self) -> float:
        try:
            return self._keeper.look()
        except Exception:  # noqa: BLE001  # nobody would start this thread again; the bug is logged
            if not self._ended.is_set():  # else only the hands are gone
                _log.exception("pool.crashed")
                self._metrics.crashed("pool")
            return self._options.look_s


def _adopts(provider: InstanceProvider) -> bool:
    return "adopt" in provider.capabilities


def _check(kinds: set[str], providers: Mapping[str, InstanceProvider]) -> None:
    for kind in sorted(kinds):
        provider = providers.get(kind)
        if provider is None:
            known = ", ".join(sorted(name for name, one in providers.items() if _adopts(one)))
            raise BadConfiguration(f"[pool] {kind}: no such provider is enabled", f"keep spares of: {known}")
        if not _adopts(provider):
            raise BadConfiguration(f"[pool] {kind}: this provider cannot keep spares", "remove the line")
