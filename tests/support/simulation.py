"""The whole orchestrator on a simulated cloud, one thread, virtual time: minutes pass in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from astara.model.boundaries import Event
from astara.model.resource import ResourceKey
from astara.providers.memory.cloud import MemoryCloud, Simulated
from astara.providers.memory.provider import MemoryProvider
from astara.reconcile.engine import Engine
from astara.reconcile.options import EngineOptions
from support.clock import VirtualClock
from support.fakes.drivers import PortedNetworks, SlottedRouters
from support.fakes.neutron import FakeNeutron
from support.fakes.records import FakeRecords


@dataclass
class World:
    """What outlives an orchestrator: Neutron, the cloud, the disk, and time."""

    neutron: FakeNeutron = field(default_factory=FakeNeutron)
    cloud: MemoryCloud = field(default_factory=MemoryCloud)
    records: FakeRecords = field(default_factory=FakeRecords)
    clock: VirtualClock = field(default_factory=VirtualClock)

    def orchestrator(self, options: EngineOptions | None = None) -> Orchestrator:
        """Start one with empty memory and a new term."""
        return Orchestrator(self, options or EngineOptions())

    def instances(self) -> dict[str, list[Simulated]]:
        found: dict[str, list[Simulated]] = {}
        for instance in self.cloud.instances.values():
            found.setdefault(instance.key.id, []).append(instance)
        return found

    def only(self, identifier: str = "r1") -> Simulated:
        """Return the one instance of a resource; there must be exactly one."""
        [instance] = self.instances().get(identifier, [])
        return instance

    def shape(self) -> object:
        """Return what matters of the end state, free of ids, times and generations."""
        return (
            sorted(
                (str(i.key), i.slot, i.host, i.health.value, i.digest or "", tuple(sorted(i.ports)))
                for i in self.cloud.instances.values()
            ),
            sorted(
                (r.id, r.status, tuple(p.status for p in r.interfaces)) for r in self.neutron.routers_by_id.values()
            ),
        )


class Orchestrator:
    """An engine whose threads are this test."""

    def __init__(self, world: World, options: EngineOptions) -> None:
        self.world = world
        self.engine = Engine(
            neutron=world.neutron,
            drivers={"router": SlottedRouters(), "network": PortedNetworks()},
            providers={"memory": MemoryProvider(world.cloud, world.clock.wall)},
            records=world.records,
            clock=world.clock,
            term=world.records.next_term(),
            options=options,
            random_value=lambda: 0.5,
        )
        self.engine.holds.load()

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
            next_look_s = self.engine.schedule.run_due()
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

    def phase(self, identifier: str = "r1", driver: str = "router") -> str:
        [line] = self.engine.ledger.lines([ResourceKey(driver, identifier)]) or [None]
        return line.phase if line is not None else "unknown"
