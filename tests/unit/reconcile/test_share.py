from __future__ import annotations

from dataclasses import dataclass, field

from astara.model.errors import Stale
from astara.model.resource import ResourceKey
from astara.providers.memory.provider import MemoryProvider
from astara.reconcile.engine import Engine
from astara.reconcile.share import Share
from support.builders.resources import router
from support.fakes.drivers import SlottedRouters
from support.simulation import World

ROUTERS = 300


@dataclass
class Part:
    """An Ownership that a test changes: it owns routers whose number leaves one of `rests` when divided by three."""

    epoch: int = 1
    rests: set[int] = field(default_factory=set)
    may_act: bool = True
    refusals: int = 0

    def owns(self, key: ResourceKey) -> bool:
        return int(key.id[1:]) % 3 in self.rests

    def term(self, key: ResourceKey) -> int | None:
        return self.epoch if self.owns(key) and self.may_act else None

    def refused(self) -> None:
        self.refusals += 1


class Bench:
    def __init__(self, *rests: int) -> None:
        self.world, self.part = World(), Part(rests=set(rests))
        for number in range(ROUTERS):
            self.world.neutron.put_router(router(f"r{number}"))
        self.engine = Engine(
            neutron=self.world.neutron,
            drivers={"router": SlottedRouters()},
            providers={"memory": MemoryProvider(self.world.cloud, self.world.clock.wall)},
            records=self.world.records,
            clock=self.world.clock,
            ownership=self.part,
        )
        self.engine.schedule.run_due()
        self.work()

    def work(self) -> None:
        while self.engine.workers.work_one(0.0):
            pass

    def change(self, *rests: int) -> None:
        self.part.rests = set(rests)
        self.part.epoch += 1
        self.engine.ring_changed()

    def known(self) -> set[int]:
        return {int(key.id[1:]) % 3 for key in self.engine.ledger.known()}


def test_what_is_another_s_is_neither_made_nor_looked_at_nor_shown():
    bench = Bench(0)
    assert len(bench.world.cloud.instances) == ROUTERS / 3
    assert bench.known() == {0}
    bench.world.neutron.asked = 0
    for number in range(ROUTERS):
        bench.engine.inbox.add(ResourceKey("router", f"r{number}"), "event")
    bench.work()
    assert bench.world.neutron.asked == ROUTERS / 3


def test_after_a_change_of_ring_the_moved_ones_are_looked_at_and_no_others():
    bench = Bench(0)
    bench.world.neutron.asked = 0
    bench.world.neutron.calls.clear()
    bench.change(0, 1)
    bench.work()
    assert bench.known() == {0, 1}
    assert bench.world.neutron.asked == ROUTERS / 3
    assert set(bench.world.neutron.calls) <= {"routers", "report_status"}


def test_what_was_lost_is_forgotten_at_once_and_left_alone():
    bench = Bench(0, 1)
    touched = bench.world.cloud.changes
    bench.change(0)
    assert bench.known() == {0}
    bench.world.cloud.degrade(bench.world.instances()["r1"][0].id)
    bench.engine.schedule._looks.drift()
    bench.work()
    assert bench.world.cloud.changes == touched
    assert bench.known() == {0}


def test_the_first_ring_asks_for_a_look_at_everything_by_bulk_calls():
    bench = Bench()
    bench.part.epoch = 0
    bench.engine._owned_before = False
    bench.world.neutron.asked = 0
    bench.change(0, 1, 2)
    bench.engine.schedule.run_due()
    bench.work()
    assert len(bench.world.cloud.instances) == ROUTERS


def test_one_that_may_not_act_for_a_moment_touches_nothing_and_comes_again_soon():
    bench = Bench(0)
    bench.part.may_act = False
    bench.world.neutron.put_router(router("r0", routes=("10.9.0.0/24",)))
    bench.engine.inbox.add(ResourceKey("router", "r0"), "event")
    touched = bench.world.cloud.changes
    bench.work()
    assert bench.world.cloud.changes == touched
    bench.part.may_act = True
    bench.world.clock.advance(1.0)
    bench.work()
    assert bench.world.cloud.changes == touched + 1


def test_a_refusal_has_the_ring_looked_at_and_a_ring_that_changes_between_two_steps_ends_the_plan():
    bench = Bench(0)
    bench.world.neutron.put_router(router("r0", routes=("10.9.0.0/24",)))
    bench.world.cloud.inject("push", Stale("somebody newer was here"))
    bench.engine.inbox.add(ResourceKey("router", "r0"), "event")
    bench.work()
    assert bench.part.refusals == 1

    bench = Bench(0)
    bench.world.neutron.put_router(router("r3000"))
    bench.world.cloud.watch = lambda when, what: (when, what) == ("after", "create") and bench.change(1)
    bench.engine.inbox.add(ResourceKey("router", "r3000"), "event")
    bench.work()
    [made] = bench.world.instances()["r3000"]
    assert made.pushes == 0  # it was made, and the rest is the new owner's
    assert not bench.engine.ledger.knows(ResourceKey("router", "r3000"))


def test_gained_keys_are_told_once_and_gone_ones_are_forgotten():
    part = Part()
    share = Share(part)
    keys = [ResourceKey("router", f"r{number}") for number in range(6)]
    assert [share.takes(key) for key in keys] == [False] * 6
    part.rests = {0}
    assert set(share.gained()) == {keys[0], keys[3]}
    assert share.gained() == ()
    share.forget([keys[1]])
    assert set(share.elsewhere()) == {keys[2], keys[4], keys[5]}
