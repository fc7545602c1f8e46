"""Looks at spares, ends what cannot be handed out, makes what is missing: one at a time per host, real work first."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from astara.contract.agent import SPARE, StateView
from astara.contract.codec import Wire
from astara.contract.codec import digest as digest_of
from astara.contract.generation import ZERO
from astara.model.boundaries import AdoptingProvider, Clock, Image, InstanceLister
from astara.model.errors import AstaraError, Gone, Retry, Stale
from astara.model.operator import PoolLine
from astara.model.resource import DesiredInstance, ObservedInstance, ResourceKey
from astara.pool.boundaries import NoPoolMetrics, PoolMetrics
from astara.pool.deficit import FULL, Order, Shelf, Spare, Standing, deficit, shelved, standing
from astara.pool.options import PoolOptions
from astara.pool.sight import Sight, Troubles, line
from astara.pool.stock import Stock

_log = structlog.get_logger(__name__)


class Nothing(Wire, frozen=True):
    """What a spare is configured with."""


@dataclass(frozen=True, slots=True)
class _Found:
    """Every spare there is, and the hosts that could not be asked."""

    spares: tuple[ObservedInstance, ...]
    unreachable: frozenset[str]


def _at_once(job: Callable[[], None]) -> None:
    job()


@dataclass(slots=True)
class _Hosts:
    """Hosts with a job under way, and since when others wait for real work there."""

    at_work: set[str] = field(default_factory=set)
    yielding: dict[str, float] = field(default_factory=dict)


class Keeper:
    """`look` is called by one thread; its jobs, one per host, run where `submit` puts them.

    `providers`: all that adopt, also those without a size: their spares are ended. `busy`: whether real work waits.
    `keeps`: whether the spares of a host are ours to make and to end; all that are there may be handed out by anybody.
    `tell`: of every spare made or ended, in words, for the audit.
    """

    def __init__(
        self,
        providers: Mapping[str, AdoptingProvider],
        stock: Stock,
        options: PoolOptions,
        clock: Clock,
        metrics: PoolMetrics | None = None,
        busy: Callable[[], bool] = lambda: False,
        submit: Callable[[Callable[[], None]], object] = _at_once,
        wake: Callable[[], None] = lambda: None,
        keeps: Callable[[str], bool] = lambda host: True,
        tell: Callable[[ResourceKey, str], None] = lambda key, what: None,
    ) -> None:
        self._keeps = keeps
        self._providers = providers
        self._stock = stock
        self._options = options
        self._clock = clock
        self._metrics = metrics or NoPoolMetrics()
        self._busy = busy
        self._submit = submit
        self._wake = wake
        self._tell = tell
        self._mutex = threading.Lock()
        self._hosts = _Hosts()
        self._troubles = Troubles(options)
        self._births: dict[str, float] = {}
        self._sights: dict[Shelf, Sight] = {}
        self._keys = {ResourceKey(SPARE, str(kind.nics)) for kind in options.sizes} | {ResourceKey(SPARE, "0")}

    def look(self) -> float:
        """Look at every spare, order what is to be done; return in how many seconds to look again at the latest."""
        since = self._clock.now()
        found = self._found()
        images = dict(self._images(found.unreachable))
        judged = {
            shelf: self._judged(spares, images.get(shelf)) for shelf, spares in shelved(found.spares, images).items()
        }
        orders: dict[str, list[tuple[Shelf, Order]]] = {}
        sights: dict[Shelf, Sight] = {}
        for shelf, spares in judged.items():
            self._measure(shelf, spares)
            wanted = self._wanted(shelf, spares)
            sights[shelf] = Sight(tuple(spare.standing for spare in spares), wanted, shelf.host in found.unreachable)
            if shelf.host not in found.unreachable and self._keeps(shelf.host):
                order = deficit(spares, wanted)
                orders.setdefault(shelf.host, []).append((shelf, order))
                if order == FULL and (shelf not in images or images[shelf] is not None):
                    self._troubles.over(shelf)
        self._restock(judged, since)
        with self._mutex:
            self._sights = sights
        for host, ordered in orders.items():
            self._begin(host, ordered)
        return self._again_s()

    def lines(self) -> tuple[PoolLine, ...]:
        """Return every shelf as last seen."""
        now = self._clock.now()
        with self._mutex:
            sights = dict(self._sights)
            yielding = frozenset(self._hosts.yielding)
        return tuple(
            line(shelf, sight, self._stock, self._troubles.of(shelf), now, yields=shelf.host in yielding)
            for shelf, sight in sorted(sights.items(), key=lambda item: _order(item[0]))
            if sight.standings or self._stock.size(shelf) is not None
        )

    # Looking

    def _found(self) -> _Found:
        spares: dict[tuple[str, str, str], ObservedInstance] = {}
        unreachable: set[str] = set()
        listers: dict[int, InstanceLister] = {}
        for provider in self._providers.values():
            lister: InstanceLister = getattr(provider, "source", provider)
            listers[id(lister)] = lister
        for lister in listers.values():
            for key in self._keys:
                try:
                    listing = lister.list(key)
                except Retry as error:
                    _log.warning("pool.not-listed", reason=str(error))
                    unreachable |= self._hosts_of(lister)
                    continue
                unreachable |= listing.unreachable_hosts
                spares |= {(one.provider, one.host, one.id): one for one in listing.instances}
        mine = tuple(one for one in spares.values() if one.provider in self._providers)
        return _Found(mine, frozenset(unreachable))

    def _hosts_of(self, lister: InstanceLister) -> set[str]:
        asked = [one for one in self._providers.values() if getattr(one, "source", one) is lister]
        return {host for one in asked for host in one.hosts}

    def _images(self, unreachable: frozenset[str]) -> Iterator[tuple[Shelf, Image | None]]:
        """Every shelf that is kept, with what is made for it now."""
        for kind in self._options.sizes:
            provider = self._providers.get(kind.provider)
            for host in provider.hosts if provider is not None else ():
                shelf = kind.on(host)
                yield shelf, None if provider is None or host in unreachable else self._image(provider, shelf)

    def _image(self, provider: AdoptingProvider, shelf: Shelf) -> Image | None:
        try:
            return provider.image_now(shelf.host, shelf.image)
        except AstaraError as error:
            self._failed(shelf, error)
            return None

    def _judged(self, spares: Sequence[ObservedInstance], image: Image | None) -> list[Spare]:
        wall, deadline_s = self._clock.wall(), self._options.boot_deadline_s
        return [Spare(spare, standing(spare, image, wall, deadline_s)) for spare in spares]

    def _wanted(self, shelf: Shelf, spares: Sequence[Spare]) -> int:
        """How many the shelf should hold; one that nobody configured, none."""
        provider = self._providers[shelf.provider]
        if "instant" in provider.capabilities or self._stock.size(shelf) is None:
            return 0
        alive = sum(spare.standing in (Standing.READY, Standing.COMING) for spare in spares)
        self._stock.found(shelf, alive)
        return self._stock.wanted(shelf)

    def _measure(self, shelf: Shelf, spares: Sequence[Spare]) -> None:
        for spare in spares:
            if spare.standing is Standing.READY:
                self._born(shelf, spare.instance)

    def _restock(self, judged: Mapping[Shelf, Sequence[Spare]], since: float) -> None:
        ready = {
            shelf: sorted(
                (spare.instance for spare in spares if spare.standing is Standing.READY),
                key=lambda instance: (instance.created_at, instance.id),
            )
            for shelf, spares in judged.items()
        }
        self._stock.restock(ready, since)
        known = {spare.instance.id for spares in judged.values() for spare in spares}
        with self._mutex:
            self._births = {spare: began for spare, began in self._births.items() if spare in known or began >= since}

    def _again_s(self) -> float:
        options, now = self._options, self._clock.now()
        with self._mutex:
            sights, yields = list(self._sights.values()), bool(self._hosts.yielding)
        waits = [options.look_s if options.sizes or any(s.standings for s in sights) else options.idle_look_s]
        waits += [options.yield_look_s] * yields
        waits += [options.coming_look_s] * any(Standing.COMING in sight.standings for sight in sights)
        waits += [max(options.settle_s, at - now) for at in self._troubles.due()]
        return min(waits)

    # Doing

    def _begin(self, host: str, orders: Sequence[tuple[Shelf, Order]]) -> None:
        if not any(order.make or order.drop for _, order in orders):
            with self._mutex:
                self._hosts.yielding.pop(host, None)
            return
        with self._mutex:
            if host in self._hosts.at_work:
                return
            self._hosts.at_work.add(host)
        self._submit(lambda: self._job(host, orders))

    def _job(self, host: str, orders: Sequence[tuple[Shelf, Order]]) -> None:
        changed = False
        try:
            changed = self._work(host, orders)
        except Exception:  # noqa: BLE001  # the pool outlives a bug; it is logged, and comes again with the next look
            _log.exception("pool.crashed", host=host)
            self._metrics.crashed("pool")
        finally:
            with self._mutex:
                self._hosts.at_work.discard(host)
            if changed:
                self._wake()

    def _work(self, host: str, orders: Sequence[tuple[Shelf, Order]]) -> bool:
        changed = False
        for shelf, order in orders:
            for spare in order.drop:
                changed |= self._drop(shelf, spare)
        for shelf, order in orders:
            for _ in range(order.make):
                if self._must_wait(host):
                    return changed
                if not self._make(shelf):
                    break
                changed = True
        return changed

    def _must_wait(self, host: str) -> bool:
        """Real work goes first, but not for ever: under lasting load one spare is made per patience."""
        now = self._clock.now()
        with self._mutex:
            if not (self._stock.busy(host) or self._busy()):
                self._hosts.yielding.pop(host, None)
                return False
            if now - self._hosts.yielding.setdefault(host, now) < self._options.patience_s:
                return True
            self._hosts.yielding[host] = now
            return False

    def _make(self, shelf: Shelf) -> bool:
        if self._troubles.held_back(shelf, self._clock.now()):
            return False
        nothing, began, key = Nothing(), self._clock.now(), ResourceKey(SPARE, str(shelf.nics))
        wanted = DesiredInstance(
            str(uuid.uuid4()), shelf.provider, shelf.host, (), nothing, digest_of(nothing), shelf.image
        )
        try:
            made = self._providers[shelf.provider].create(key, wanted, ZERO)
        except AstaraError as error:
            self._failed(shelf, error)
            return False
        self._troubles.over(shelf)
        with self._mutex:
            self._births[made.id] = began
        _log.info("spare.made", spare=made.id, provider=shelf.provider, host=shelf.host)
        self._tell(key, f"create spare {made.id} on {shelf.host} ({shelf.provider})")
        if isinstance(made.state, StateView):
            self._born(shelf, made)
            self._stock.add(shelf, made)
        return True

    def _born(self, shelf: Shelf, spare: ObservedInstance) -> None:
        """Its agent answers: measure how long that took, once."""
        with self._mutex:
            began = self._births.pop(spare.id, None)
        if began is not None:
            duration_s = self._clock.now() - began
            self._stock.refilled(shelf, duration_s)
            self._metrics.pool_refill(shelf.provider, duration_s)

    def _drop(self, shelf: Shelf, spare: ObservedInstance) -> bool:
        try:
            self._providers[spare.provider].delete(spare, ZERO)
        except (Stale, Gone):
            return True  # somebody's by now
        except AstaraError as error:
            self._failed(shelf, error)
            return False
        _log.info("spare.ended", spare=spare.id, provider=spare.provider, host=spare.host)
        self._tell(ResourceKey(SPARE, str(shelf.nics)), f"delete spare {spare.id} on {spare.host} ({spare.provider})")
        return True

    def _failed(self, shelf: Shelf, error: AstaraError) -> None:
        if self._troubles.failed(shelf, error, self._clock.now()):
            _log.warning(
                "pool.failing", provider=shelf.provider, host=shelf.host, reason=str(error), remedy=error.remedy
            )


def _order(shelf: Shelf) -> tuple[str, str, str, int]:
    return shelf.provider, shelf.host, shelf.image or "", shelf.nics
