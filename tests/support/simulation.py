"""The whole orchestrator on a simulated cloud, one thread, virtual time: minutes pass in milliseconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from astara.contract.agent import SPARE
from astara.model.boundaries import Event, InstanceProvider
from astara.model.resource import ResourceKey
from astara.planning.housing import NodeStand
from astara.planning.rollout import Budget
from astara.pool.boundaries import NoPoolMetrics
from astara.pool.keeper import Keeper
from astara.pool.options import PoolOptions
from astara.pool.provider import WarmProvider
from astara.pool.stock import Stock
from astara.providers.memory.cloud import MemoryCloud, Simulated
from astara.providers.memory.provider import MemoryProvider
from astara.reconcile.engine import Engine
from astara.reconcile.evacuation import Evacuation, HealingOptions
from astara.reconcile.options import EngineOptions
from astara.reconcile.share import SoleOwner
from astara.reconcile.upgrading import Upgrading
from astara.records.upgrades import StoredUpgrades
from support.clock import VirtualClock
from support.fakes.drivers import PortedNetworks, SlottedRouters
from support.fakes.neutron import FakeNeutron
from support.fakes.records import FakeRecords

#: Kinds of simulated instance: a resource may be moved from one to the other.
BODIES = ("memory", "paper")


@dataclass
class World:
    """What outlives an orchestrator: Neutron, the cloud, the disk, and time."""

    neutron: FakeNeutron = field(default_factory=FakeNeutron)
    cloud: MemoryCloud = field(default_factory=MemoryCloud)
    records: FakeRecords = field(default_factory=FakeRecords)
    clock: VirtualClock = field(default_factory=VirtualClock)
    #: What every orchestrator here keeps warm.
    pool: PoolOptions | None = None
    #: Where upgrades are recorded, and what they may have in work; None: nothing is ever upgraded.
    upgrades: StoredUpgrades | None = None
    budget: Budget = field(default_factory=Budget)
    #: Nodes that are watched: what is on one that dies or is drained is placed elsewhere.
    nodes: tuple[str, ...] = ()
    healing: HealingOptions = field(default_factory=HealingOptions)
    silent_since: dict[str, float] = field(default_factory=dict)

    def orchestrator(self, options: EngineOptions | None = None) -> Orchestrator:
        """Start one with empty memory and a new term."""
        return Orchestrator(self, options or EngineOptions())

    def silence(self, *nodes: str) -> None:
        """These do not answer from now on; their instances are what they were."""
        self.cloud.unreachable |= set(nodes)
        self.silent_since |= dict.fromkeys(nodes, self.clock.now())

    def answers(self, *nodes: str) -> None:
        """These answer again."""
        self.cloud.unreachable -= set(nodes)
        for node in nodes:
            del self.silent_since[node]

    def instances(self) -> dict[str, list[Simulated]]:
        found: dict[str, list[Simulated]] = {}
        for instance in self.cloud.instances.values():
            if instance.key.driver != SPARE:
                found.setdefault(instance.key.id, []).append(instance)
        return found

    def spares(self, host: str = "h1") -> list[Simulated]:
        """Return the warm instances of a host, the oldest first."""
        found = [one for one in self.cloud.instances.values() if (one.key.driver, one.host) == (SPARE, host)]
        return sorted(found, key=lambda one: (one.created_at, one.id))

    def only(self, identifier: str = "r1") -> Simulated:
        """Return the one instance of a resource; there must be exactly one."""
        [instance] = self.instances().get(identifier, [])
        return instance

    def shape(self) -> object:
        """Return what matters of the end state, free of ids, times, generations and spares."""
        return (
            sorted(
                (str(i.key), i.slot, i.host, i.body, i.standby, i.health.value, i.digest or "", tuple(sorted(i.ports)))
                for i in self.cloud.instances.values()
                if i.key.driver != SPARE
            ),
            sorted(
                (r.id, r.status, tuple(p.status for p in r.interfaces)) for r in self.neutron.routers_by_id.values()
            ),
        )


class Orchestrator:
    """An engine whose threads are this test."""

    def __init__(self, world: World, options: EngineOptions) -> None:
        self.world = world
        memory = MemoryProvider(world.cloud, world.clock.wall)
        self.provider: InstanceProvider = memory
        self.keeper: Keeper | None = None
        self._tend_at = world.clock.now()
        if world.pool is not None:
            stock = Stock(world.pool, world.clock)
            self.provider = WarmProvider(memory, stock, self._wake, NoPoolMetrics())
            self.keeper = Keeper({"memory": memory}, stock, world.pool, world.clock, wake=self._wake)
        self.engine = Engine(
            neutron=world.neutron,
            drivers={"router": SlottedRouters(), "network": PortedNetworks()},
            providers={"memory": self.provider, "paper": MemoryProvider(world.cloud, world.clock.wall, "paper")},
            records=world.records,
            clock=world.clock,
            ownership=SoleOwner(world.records.next_term()),
            options=options,
            upgrades=world.upgrades,
            random_value=lambda: 0.5,
        )
        self.engine.load()
        self.upgrading = Upgrading(self.engine, world.clock, world.budget, "orchestrator")
        self.evacuation = Evacuation(self.engine, world.neutron, world.clock, world.healing, self._nodes)
        self._evacuate_at = world.clock.now() if world.nodes else math.inf
        self._upgrade_at = world.clock.now() if world.upgrades is not None else math.inf

    def event(self, identifier: str = "r1", kind: str = "router", name: str = "router.update.end") -> None:
        self.engine.notify(Event(name, {kind: (identifier,)}))

    def work(self, limit: int = 100_000) -> int:
        """Work until nothing is due now; returns how many turns that took."""
        turns = 0
        while self.engine.workers.work_one(0.0):
            turns += 1
            assert turns < limit, "it loops hot"
        return turns

    def run(self, for_s: float = 0.0) -> None:
        """Let time pass: every look happens when it is due."""
        until = self.world.clock.now() + for_s
        while True:
            next_look_s = min(self.engine.schedule.run_due(), self._tend_pool(), self._upgrade(), self._evacuate())
            self.work()
            now = self.world.clock.now()
            due = self.engine.inbox.next_due()
            step = min(next_look_s, until - now, max(0.0, due - now) if due is not None else next_look_s)
            if now + step >= until:
                self.world.clock.advance(max(0.0, until - now))
                self.engine.schedule.run_due()
                self.work()
                return
            self.world.clock.advance(max(step, 1e-6))

    def _wake(self) -> None:
        assert self.world.pool is not None
        self._tend_at = min(self._tend_at, self.world.clock.now() + self.world.pool.settle_s)

    def _tend_pool(self) -> float:
        """Look at the pool when that is due; returns seconds until the next time."""
        now = self.world.clock.now()
        if self.keeper is None:
            return math.inf
        if self._tend_at <= now:
            self._tend_at = math.inf
            self._tend_at = min(now + self.keeper.look(), self._tend_at)
        return self._tend_at - now

    def _upgrade(self) -> float:
        """Look at the upgrade when that is due; returns seconds until the next time."""
        now = self.world.clock.now()
        if self._upgrade_at <= now:
            self._upgrade_at = now + self.upgrading.look()
        return self._upgrade_at - now

    def _nodes(self) -> list[NodeStand]:
        now, since = self.world.clock.now(), self.world.silent_since
        drained = self.evacuation.drained()
        return [
            NodeStand(name, max(0.001, now - since[name]) if name in since else 0.0, name in drained)
            for name in self.world.nodes
        ]

    def _evacuate(self) -> float:
        """Leave what is to be left when that is due; returns seconds until the next time."""
        now = self.world.clock.now()
        if self._evacuate_at <= now:
            self._evacuate_at = now + self.evacuation.look()
        return self._evacuate_at - now

    def phase(self, identifier: str = "r1", driver: str = "router") -> str:
        [line] = self.engine.ledger.lines([ResourceKey(driver, identifier)]) or [None]
        return line.phase if line is not None else "unknown"
