"""The laws of the house, as properties of the whole engine on a simulated cloud."""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from astara.contract.generation import Generation
from astara.model.resource import ResourceKey
from astara.pool.deficit import Size
from astara.pool.options import Kind, PoolOptions
from support.builders.resources import router
from support.simulation import Orchestrator, World
from support.strategies import Deed, delete_router, histories, put_router, wishes

LONG_S = 7200.0
LAW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Killed(BaseException):
    """The process is gone, in the middle of whatever it did."""


def a_world(warm: bool) -> World:
    """Every law holds with warm instances too: one is kept on every host."""
    if not warm:
        return World()
    world = World(pool=PoolOptions(sizes={Kind("memory"): Size(1, 1)}, look_s=120.0))
    world.cloud.hosts = ("h1", "h2")
    return world


def wished_shape(world: World) -> object:
    """Return the end state an orchestrator makes of the same wish from nothing, undisturbed."""
    fresh = World()
    for snapshot in world.neutron.routers_by_id.values():
        fresh.neutron.put_router(snapshot)
    for snapshot in world.neutron.networks_by_id.values():
        fresh.neutron.put_network(snapshot)
    fresh.orchestrator().run(LONG_S)
    return fresh.shape()


@LAW
@given(
    deeds=histories(),
    order=st.randoms(use_true_random=False),
    pauses=st.lists(st.sampled_from((0.0, 0.0, 3.0, 70.0)), min_size=8, max_size=8),
    warm=st.booleans(),
)
def test_path__any_order_loss_or_doubling_of_events_then_one_resync_gives_the_same_end(deeds, order, pauses, warm):
    world = a_world(warm)
    orchestrator = world.orchestrator()
    late: list[Deed] = []
    for deed, pause in zip(deeds, pauses, strict=False):
        deed.happen(world, orchestrator if order.random() < 0.7 else None)
        late.append(deed)
        orchestrator.run(pause)
    order.shuffle(late)
    for deed in late:  # stragglers, out of order
        orchestrator.event(deed.about[1], kind=deed.about[0])
    orchestrator.engine.resync("feed was interrupted")
    orchestrator.run(LONG_S)
    assert world.shape() == wished_shape(world)


@LAW
@given(deeds=st.lists(wishes(), min_size=1, max_size=5), twice=st.booleans(), warm=st.booleans())
def test_replay__a_plan_applied_twice_or_interleaved_with_a_change_gives_the_same_end(deeds, twice, warm):
    world = a_world(warm)
    orchestrator = world.orchestrator()
    orchestrator.run(5)
    reconciler = orchestrator.engine._reconciler
    for deed in deeds:
        deed.happen(world)
        keys = [ResourceKey("router", i) for i in ("r1", "r2", "r3")] + [ResourceKey("network", "n1")]
        planned = [(key, reconciler.look(key)) for key in keys]
        for key, seen in planned + planned[::-1] * twice:
            reconciler._executor.run(
                key,
                seen.plan.steps,
                Generation(orchestrator.engine.term, seen.desired.revision),
                world.clock.now() + 60,
            )
    orchestrator.run(LONG_S)
    assert world.shape() == wished_shape(world)


@LAW
@given(first=st.lists(wishes(), min_size=1, max_size=3), there=st.lists(wishes(), min_size=1, max_size=4))
@example(
    first=[put_router(router(ports=("p1",)))], there=[put_router(router(ports=("p1", "p2")))]
)  # one port to detach
def test_round_trip__there_and_back_is_identical(first, there):
    world = World()
    orchestrator = world.orchestrator()
    for deed in first:
        deed.happen(world, orchestrator)
    orchestrator.run(300)
    before = world.shape()
    wish = dict(world.neutron.routers_by_id), dict(world.neutron.networks_by_id)
    for deed in there:
        deed.happen(world, orchestrator)
    orchestrator.run(300)
    restore(world, orchestrator, *wish)
    orchestrator.run(300)
    assert world.shape() == before


def restore(world: World, orchestrator: Orchestrator, routers, networks) -> None:
    for identifier in set(world.neutron.routers_by_id) - set(routers):
        world.neutron.delete_router(identifier)
        orchestrator.event(identifier)
    for identifier in set(world.neutron.networks_by_id) - set(networks):
        world.neutron.delete_network(identifier)
        orchestrator.event(identifier, kind="network")
    for snapshot in routers.values():
        world.neutron.put_router(snapshot)
        orchestrator.event(snapshot.id)
    for snapshot in networks.values():
        world.neutron.put_network(snapshot)
        orchestrator.event(snapshot.id, kind="network")


@LAW
@given(
    before=histories(4),
    after=histories(4),
    kill_at=st.integers(0, 25),
    again_at=st.integers(0, 25),
    warm=st.booleans(),
)
@example(
    before=[put_router(router())], after=[delete_router("r1")], kill_at=0, again_at=0, warm=False
)  # nobody's, and no event of it
def test_interrupt__killed_between_any_two_steps_an_empty_memory_reaches_the_same_end(
    before, after, kill_at, again_at, warm
):
    world = a_world(warm)
    orchestrator = world.orchestrator()
    for deed in before:
        deed.happen(world, orchestrator)
    orchestrator.run(60)
    for moment in (kill_at, again_at):
        for deed in after:
            deed.happen(world, orchestrator)
        live_until_killed(world, orchestrator, moment)
        orchestrator = world.orchestrator()
    orchestrator.run(LONG_S)
    assert world.shape() == wished_shape(world)


def live_until_killed(world: World, orchestrator: Orchestrator, moment: int) -> None:
    count = 0

    def watch(_when: str, _operation: str) -> None:
        nonlocal count
        count += 1
        if count > moment:
            raise Killed

    world.cloud.watch = world.neutron.watch = watch
    try:
        orchestrator.run(30)
    except Killed:
        pass
    finally:
        world.cloud.watch = world.neutron.watch = None


@LAW
@given(deeds=histories(), warm=st.booleans())
def test_stillness__a_settled_world_plans_nothing_and_touches_nothing(deeds, warm):
    world = a_world(warm)
    orchestrator = world.orchestrator()
    for deed in deeds:
        deed.happen(world, orchestrator)
    orchestrator.run(LONG_S)
    touched, reports = world.cloud.changes, len(world.neutron.reports)
    world.cloud.calls.clear()
    asked = world.neutron.asked
    for key in orchestrator.engine.ledger.known():
        assert not orchestrator.engine.inspect(key).steps
    inspected = world.neutron.asked - asked
    orchestrator.run(LONG_S)
    world.orchestrator().run(60)  # a restart is no reason to touch anything either
    assert world.cloud.changes == touched
    assert len(world.neutron.reports) == reports
    assert set(world.cloud.calls) <= {"list", "list-one"}
    assert world.neutron.asked - asked == inspected


@LAW
@given(deeds=histories(), turns=st.lists(st.booleans(), min_size=8, max_size=8), warm=st.booleans())
def test_one_owner__of_two_that_both_believe_they_own_it_the_older_is_refused(deeds, turns, warm):
    world = a_world(warm)
    older, newer = world.orchestrator(), world.orchestrator()
    for deed, mine in zip(deeds, turns, strict=False):
        deed.happen(world, older)
        deed.happen(world, newer)
        for orchestrator in (older, newer) if mine else (newer, older):
            orchestrator.run(0)
    newer.engine.resync("ring changed")
    for _ in range(12):
        newer.run(600)
        older.run(0)
    newer.run(600)
    assert world.shape() == wished_shape(world)


def test_one_owner__the_older_changes_nothing_of_what_the_newer_has_touched():
    world = World()
    older, newer = world.orchestrator(), world.orchestrator()
    world.neutron.put_router(router(routes=()))
    newer.run(1)
    touched = world.cloud.changes
    world.neutron.put_router(router(routes=("10.9.0.0/24",)))
    older.event()
    older.run(300)
    assert world.cloud.changes == touched
    assert "newer" in " ".join(line.because for line in older.engine.resources()) or older.phase() == "outdated"
    newer.run(300)
    assert world.only().pushes == 2
