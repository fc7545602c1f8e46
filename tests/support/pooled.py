"""A provider with spares in front of it (pool/), and what keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from astara.model.boundaries import AdoptingProvider
from astara.pool.boundaries import NoPoolMetrics
from astara.pool.deficit import Shelf, Size
from astara.pool.keeper import Keeper
from astara.pool.options import Kind, PoolOptions
from astara.pool.provider import WarmProvider
from astara.pool.stock import Account, Stock
from astara.reconcile.clock import SystemClock
from astara_suites.providers import NOW, InstanceProviderSuite, World, a_key, spares, wanted


@dataclass(frozen=True)
class Pooled:
    """`world` as whoever asks sees it."""

    world: World
    stock: Stock
    keeper: Keeper
    spares: int

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
            spares,
        )

    @property
    def account(self) -> Account:
        return self.stock.account(Shelf(self.world.provider.name, self.world.host))


class PoolSuite(InstanceProviderSuite):
    """The suite of providers with spares in front; subclasses say `pool`, over a world that lasts as long as it."""

    @pytest.fixture
    def pool(self) -> Pooled:
        raise NotImplementedError

    @pytest.fixture
    def pooled(self, pool: Pooled) -> Pooled:
        """The pool with every spare on its shelf."""
        pool.keeper.look()
        return pool

    @pytest.fixture
    def world(self, pooled: Pooled) -> World:
        return pooled.world

    def test_whoever_asks_is_given_a_spare_and_the_shelf_fills_again(self, pooled: Pooled) -> None:
        before, key = pooled.account, a_key()
        pooled.world.provider.create(key, wanted(pooled.world), NOW)
        assert (pooled.account.hits, pooled.account.misses) == (before.hits + 1, before.misses)
        assert len(spares(pooled.world)) == pooled.spares - 1
        pooled.keeper.look()
        assert len(spares(pooled.world)) == pooled.spares
        (line,) = [line for line in pooled.keeper.lines() if line.host == pooled.world.silent_host]
        assert line.state == "away"
