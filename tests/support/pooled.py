"""A provider with spares in front of it (pool/), and what keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from astara.model.boundaries import AdoptingProvider
from astara.pool.boundaries import NoPoolMetrics
from astara.pool.deficit import Shelf, Size
from astara.pool.keeper import Keeper
from astara.pool.options import Kind, PoolOptions
from astara.pool.provider import WarmProvider
from astara.pool.stock import Account, Stock
from astara.reconcile.clock import SystemClock
from astara_suites.providers import World


@dataclass(frozen=True)
class Pooled:
    """`world` as whoever asks sees it."""

    world: World
    stock: Stock
    keeper: Keeper

    @classmethod
    def over(cls, world: World, spares: int) -> Pooled:
        options = PoolOptions(sizes={Kind(world.provider.name): Size(spares, spares)})
        provider, clock = cast(AdoptingProvider, world.provider), SystemClock()
        stock = Stock(options, clock)
        warm = WarmProvider(provider, stock, lambda: None, NoPoolMetrics())
        return cls(
            World(warm, world.host, world.silent_host),
            stock,
            Keeper({provider.name: provider}, stock, options, clock),
        )

    @property
    def account(self) -> Account:
        return self.stock.account(Shelf(self.world.provider.name, self.world.host))
