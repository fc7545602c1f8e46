"""A spare that fits any host stands on one shelf, whatever host is wished for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from astara.contract.agent import SPARE, Health, StateView
from astara.contract.codec import digest
from astara.contract.generation import Generation
from astara.model.resource import DesiredInstance, ObservedInstance, ResourceKey
from astara.pool.boundaries import NoPoolMetrics
from astara.pool.deficit import Shelf, Size
from astara.pool.options import Kind, PoolOptions
from astara.pool.provider import WarmProvider
from astara.pool.stock import Stock
from astara.reconcile.clock import SystemClock
from astara_suites.providers import GOOD

SPARE_ONE = ObservedInstance(
    "s1", "x", "cloud", "nowhere", (), StateView(health=Health.UNCONFIGURED), 0.0, ResourceKey(SPARE, "0")
)


@dataclass
class Cloud:
    """Adopts, and says where its spares fit."""

    capabilities: frozenset[str]
    name: str = "cloud"
    summary: str = ""
    hosts: tuple[str, ...] = ("nowhere",)
    adopted: list[str] = field(default_factory=list)

    def adopt(self, spare: ObservedInstance, *_: object) -> ObservedInstance:
        self.adopted.append(spare.id)
        return spare

    def create(self, *_: object) -> ObservedInstance:
        return replace(SPARE_ONE, id="cold")


def asked(cloud: Cloud) -> str:
    """Ask for an instance on a node, with one spare on the shelf of the provider's own host."""
    stock = Stock(PoolOptions(sizes={Kind("cloud"): Size(1, 1)}), SystemClock())
    stock.restock({Shelf("cloud", "nowhere"): [SPARE_ONE]}, float("inf"))
    warm = WarmProvider(cloud, stock, lambda: None, NoPoolMetrics())  # type: ignore[arg-type]  # as much as is asked
    wanted = DesiredInstance("0", "cloud", "node-7", (), GOOD, digest(GOOD))
    return warm.create(ResourceKey("router", "r"), wanted, Generation(1, 1)).id


def test_it_is_adopted_for_another_host_than_its_own() -> None:
    assert asked(Cloud(frozenset({"hotplug", "adopt", "anywhere"}))) == "s1"


def test_without_that_promise_a_spare_stays_with_its_host() -> None:
    assert asked(Cloud(frozenset({"hotplug", "adopt"}))) == "cold"
