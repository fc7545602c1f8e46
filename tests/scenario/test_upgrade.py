"""A rolling upgrade, the whole orchestrator simulated: budgets, canary, pause, restart, stops by itself, back."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec import structs

from astara.contract.agent import Health, Role
from astara.contract.snapshot import ActiveHalf, MemberSnapshot, PortSnapshot
from astara.model.errors import Gone, Retry, Stale, Terminal, Unoffered
from astara.model.resource import ObservedInstance, ResourceKey
from astara.model.upgrade import Item, Stage, State, UpgradeWish
from astara.planning.policy import Policy
from astara.planning.rollout import Budget, Decision
from astara.providers.memory.cloud import MemoryCloud, Simulated
from astara.reconcile.evacuation import NODE
from astara.reconcile.following import ASKED_AGAIN_S
from astara.reconcile.options import EngineOptions
from astara.records.database import locate
from astara.records.schema import EDITIONS, UPGRADE_ITEMS, UPGRADES
from astara.records.store import StoredRecords
from support.builders.resources import network, router
from support.simulation import Orchestrator, World

NEXT = UpgradeWish(kind="memory", image="next", digest="sha256:2", canary="1", soak_s=20.0, deadline_s=60.0)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables: making them is most of what a test would take."""
    home = tmp_path_factory.mktemp("empty")
    records = StoredRecords(locate(None, home), lambda: 0.0)
    records.open()
    records.close()
    return home / "records.sqlite"


@pytest.fixture
def world(tmp_path: Path, empty: Path) -> Iterator[World]:
    world = World(budget=Budget(per_node=2, in_total=3), cloud=MemoryCloud(image="sha256:1"))
    shutil.copy(empty, tmp_path)
    records = StoredRecords(locate(None, tmp_path), world.clock.wall)
    records.open()
    world.upgrades = records.upgrades
    world.records = records  # type: ignore[assignment]
    yield world
    records.close()


def furnished(world: World, singles: int = 4, pairs: int = 2) -> Orchestrator:
    for number in range(singles):
        world.neutron.put_router(router(f"s{number}", host=f"h{number % 2 + 1}", ports=("p",)))
    for number in range(pairs):
        world.neutron.put_router(router(f"t{number}", host="h1,h2", ports=("p",), slots="a,b"))
    orchestrator = world.orchestrator()
    orchestrator.run(60)
    assert {line.phase for line in orchestrator.engine.resources()} == {"configured"}
    world.cloud.image = NEXT.digest  # the new one is put on every node
    return orchestrator


def upgraded(world: World) -> set[str]:
    """Return the ids of the resources that are plugged in in the newest edition alone."""
    newest = world.upgrades.newest()
    assert newest is not None
    return {name for name, found in world.instances().items() if {one.edition for one in found} == {newest.edition}}


def state(world: World) -> tuple[State, str]:
    newest = world.upgrades.newest()
    assert newest is not None
    return newest.state, newest.why


def test_every_resource_ends_in_the_new_edition_and_no_other_instance_is_left(world):
    orchestrator = furnished(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(200)
    assert state(world) == (State.DONE, "6 upgraded")
    instances = [one for found in world.instances().values() for one in found]
    assert len(instances) == 8
    assert {(one.edition, one.image_name, one.image, one.standby) for one in instances} == {
        (world.upgrades.newest().edition, "next", "sha256:2", False)
    }
    assert {line.phase for line in orchestrator.engine.resources()} == {"configured"}


class Watch:
    """Told before and after every change: what holds at every moment of an upgrade."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.most = 0
        self.most_on_a_node = 0
        world.cloud.watch = self

    def __call__(self, when: str, operation: str) -> None:
        if operation.startswith("list"):
            return
        by_router = self.world.instances()
        for name, found in by_router.items():
            serving = [one for one in found if one.health is Health.HEALTHY and not one.standby]
            assert serving, f"{when} {operation}: nobody serves {name}"
            assert len({(one.slot, one.host) for one in serving}) == len(serving), f"two are plugged in for {name}"
        busy = self._in_work()
        self.most = max(self.most, len(busy))
        nodes = Counter(host for name in busy for host in {one.host for one in by_router[name]})
        self.most_on_a_node = max(self.most_on_a_node, *nodes.values(), 0)

    def _in_work(self) -> set[str]:
        """Return the resources that are neither wholly as before nor wholly new."""
        return {
            name
            for name, found in self.world.instances().items()
            if len({one.edition for one in found}) > 1 or len({(one.slot, one.standby) for one in found}) != len(found)
        }


def test_somebody_serves_every_router_at_every_moment_and_the_budget_holds(world):
    orchestrator = furnished(world)
    watch = Watch(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(200)
    assert state(world)[0] is State.DONE
    assert 1 <= watch.most <= 3
    assert 1 <= watch.most_on_a_node <= 2


def test_of_a_pair_the_half_that_stands_by_is_first(world, monkeypatch):
    active = {"h1"}
    real = MemoryCloud.observed

    def with_roles(cloud: MemoryCloud, one: Simulated):
        seen = real(cloud, one)
        if one.health is not Health.HEALTHY:
            return seen
        role = Role.ACTIVE if one.host in active else Role.STANDBY
        return replace(seen, state=structs.replace(seen.state, role=role))

    monkeypatch.setattr(MemoryCloud, "observed", with_roles)
    orchestrator = furnished(world, singles=0, pairs=1)
    gone: list[str] = []
    before = {one.id: one.host for one in world.cloud.instances.values()}

    def note(when: str, operation: str) -> None:
        left = set(before) - set(world.cloud.instances)
        gone.extend(before[one] for one in left if before[one] not in gone)

    world.cloud.watch = note
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(100)
    assert gone == ["h2", "h1"]


class Elected:
    """Who is active of each pair: whoever was, as long as it is there, else the other one."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.active: dict[str, str] = {}
        self.both: set[str] = set()  # pairs whose halves both say to be active
        real = MemoryCloud.observed

        def with_roles(cloud: MemoryCloud, one: Simulated) -> ObservedInstance:
            seen = real(cloud, one)
            if one.health is not Health.HEALTHY:
                return seen
            mine = self.of(one.key.id) == one.id or one.key.id in self.both
            role = Role.ACTIVE if mine else Role.STANDBY
            return replace(seen, state=structs.replace(seen.state, role=role))

        monkeypatch.setattr(MemoryCloud, "observed", with_roles)

    def of(self, name: str) -> str:
        able = [one.id for one in self.world.instances()[name] if one.health is Health.HEALTHY]
        if self.active.get(name) not in able:
            self.active[name] = able[0]
        return self.active[name]

    def hand_over(self, name: str) -> None:
        """They elect the other one; nobody is told."""
        self.active[name] = next(one.id for one in self.world.instances()[name] if one.id != self.of(name))

    def strays(self, name: str) -> bool:
        """Whether a port is bound elsewhere than where the active half is."""
        host = self.world.cloud.instances[self.of(name)].host
        return {port.host for port in self.world.neutron.routers_by_id[name].interfaces} != {host}


def paired(world: World, pairs: int = 3) -> Orchestrator:
    """Return one that keeps pairs whose ports are bound at their first half."""
    for number in range(pairs):
        halves = tuple(
            MemberSnapshot(
                slot=str(slot),
                host=host,
                port=PortSnapshot(id=f"ha{slot}", network_id="ha", mac_address=f"mac-ha{slot}"),
            )
            for slot, host in enumerate(("h1", "h2"))
        )
        made = router(f"t{number}", host="h1,h2", ports=(f"p{number}",), slots="a,b")
        bound = tuple(structs.replace(port, host="h1") for port in made.interfaces)
        world.neutron.put_router(structs.replace(made, interfaces=bound, members=halves))
    orchestrator = world.orchestrator()
    orchestrator.run(60)
    assert {line.phase for line in orchestrator.engine.resources()} == {"configured"}
    return orchestrator


def test_where_only_who_is_active_has_changed_the_ports_follow_with_the_next_look_at_all(world, monkeypatch):
    """Nobody is told: no event of Neutron's, no change of configuration."""
    elected = Elected(world, monkeypatch)
    orchestrator = paired(world, pairs=1)
    for _ in range(3):
        elected.hand_over("t0")
        assert elected.strays("t0")
        orchestrator.run(EngineOptions().drift_look_s + 1)
        assert not elected.strays("t0")
    assert world.neutron.calls["follow_active"] == 3


def test_when_two_said_to_be_active_the_ports_follow_soon_after_one_of_them_is_no_longer(world, monkeypatch):
    """That a lease has ended nobody tells, and the look at everything may be half a minute away."""
    elected = Elected(world, monkeypatch)
    orchestrator = paired(world, pairs=1)
    orchestrator.run(EngineOptions().drift_look_s + 1)
    elected.hand_over("t0")
    elected.both.add("t0")
    orchestrator.engine.instance_changed(ResourceKey("router", "t0"))
    orchestrator.run(1)
    assert "follow_active" not in world.neutron.calls

    elected.both.clear()
    orchestrator.run(Policy().discord_look_s + 0.5)

    assert not elected.strays("t0")


def test_pairs_are_upgraded_twice_in_a_row_while_neutron_does_not_bind_their_ports_anew(world, monkeypatch):
    elected = Elected(world, monkeypatch)
    orchestrator = paired(world)

    def unbound(*_: object) -> None:
        raise Retry("no agent there")

    monkeypatch.setattr(world.neutron, "follow_active", unbound)
    for number in (1, 2):
        world.upgrades.begin(UpgradeWish(kind="memory", canary="1", soak_s=0.0, deadline_s=60.0), "ann")
        orchestrator.run(60)
        assert state(world) == (State.DONE, "3 upgraded"), number
    monkeypatch.undo()
    elected = Elected(world, monkeypatch)
    orchestrator.run(60)
    assert not [name for name in world.instances() if elected.strays(name)]


def unbindable(world: World, monkeypatch: pytest.MonkeyPatch, orchestrator: Orchestrator) -> list[float]:
    """Have Neutron bind nothing, bind back what was, and tell of both; returns when it was asked."""
    asked: list[float] = []

    def refuse(half: ActiveHalf, term: int | None = None) -> None:
        asked.append(world.clock.now())
        world.neutron.put_router(world.neutron.routers_by_id[half.id])
        orchestrator.event(half.id, name="port.update.end")
        raise Retry(f"port p0 cannot be bound to node {half.host}", "see its layer-2 agent")

    monkeypatch.setattr(world.neutron, "follow_active", refuse)
    return asked


def following_in_vain(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[Elected, Orchestrator, list[float]]:
    """A pair whose other half has taken over, and its ports cannot be bound there; also when that was asked."""
    elected = Elected(world, monkeypatch)
    orchestrator = paired(world, pairs=1)
    asked = unbindable(world, monkeypatch, orchestrator)
    elected.hand_over("t0")
    orchestrator.event("t0")
    return elected, orchestrator, asked


def test_ports_that_cannot_be_bound_are_tried_less_and_less_often_and_it_is_in_sight(world, monkeypatch):
    _, orchestrator, asked = following_in_vain(world, monkeypatch)
    orchestrator.run(600)
    gaps = [round(after - before, 1) for before, after in pairwise(asked)]
    # One in five less at most, half of that here; and no sooner than that although each try is heard of.
    assert gaps[:7] == [0.9, 1.8, 3.6, 7.2, 14.4, 28.8, 54.0]
    assert set(gaps[7:]) == {54.0}
    inspected = orchestrator.engine.inspect(ResourceKey("router", "t0"))
    assert (inspected.line.phase, inspected.steps) == ("configured", ())
    for told in ("bind the ports to", "port p0 cannot be bound to node", "see its layer-2 agent", f"try {len(asked)} "):
        assert told in inspected.line.because
    assert inspected.line.next_look_in_s <= 60.0
    assert world.neutron.routers_by_id["t0"].status == "ACTIVE", "it serves"


@pytest.mark.parametrize("cured", ["by a word", "by an operator", "by the clock"])
def test_once_they_can_be_bound_they_soon_are(world, monkeypatch, cured):
    elected, orchestrator, _ = following_in_vain(world, monkeypatch)
    orchestrator.run(300)
    monkeypatch.undo()
    active = elected.active
    elected = Elected(world, monkeypatch)
    elected.active = active
    assert elected.strays("t0")
    orchestrator.run(13)  # so long after a try a word is no echo of it
    if cured == "by a word":
        orchestrator.event("t0")
    elif cured == "by an operator":
        orchestrator.engine.look(ResourceKey("router", "t0"))
    orchestrator.run(60 if cured == "by the clock" else 0)
    assert not elected.strays("t0")
    orchestrator.run(60)
    [line] = orchestrator.engine.resources()
    assert (line.because, orchestrator.engine.ledger.attempts(ResourceKey("router", "t0")).tries) == ("", 0)


def test_when_the_other_half_takes_over_again_nothing_is_left_to_be_bound(world, monkeypatch):
    elected, orchestrator, asked = following_in_vain(world, monkeypatch)
    orchestrator.run(100)
    elected.hand_over("t0")
    orchestrator.event("t0")
    orchestrator.run(0)
    [line] = orchestrator.engine.resources()
    assert line.because == ""
    before = len(asked)
    elected.hand_over("t0")
    orchestrator.event("t0")
    orchestrator.run(0)
    assert len(asked) == before + 1, "a new role is no repetition"


def test_a_status_that_cannot_be_written_is_not_tried_each_second(world, monkeypatch):
    orchestrator = paired(world, pairs=1)
    tried: list[float] = []

    def refuse(*_: object) -> None:
        tried.append(world.clock.now())
        raise Retry("503 Service Unavailable")

    world.neutron.routers_by_id["t0"] = structs.replace(world.neutron.routers_by_id["t0"], status="DOWN")
    monkeypatch.setattr(world.neutron, "report_status", refuse)
    orchestrator.event("t0")
    orchestrator.run(300)
    assert 5 <= len(tried) <= 12, tried[5:30]
    [line] = orchestrator.engine.resources()
    assert "report 1 router ACTIVE" in line.because
    assert "503 Service Unavailable" in line.because
    monkeypatch.undo()
    orchestrator.run(60)
    assert world.neutron.routers_by_id["t0"].status == "ACTIVE"


def test_what_a_plug_in_does_not_offer_is_no_step_that_waits(world, monkeypatch):
    elected = Elected(world, monkeypatch)
    orchestrator = paired(world, pairs=1)
    asked: list[float] = []

    def older(*_: object) -> None:
        asked.append(world.clock.now())
        raise Unoffered("404 Not Found")

    monkeypatch.setattr(world.neutron, "follow_active", older)
    elected.hand_over("t0")
    orchestrator.run(120)
    inspected = orchestrator.engine.inspect(ResourceKey("router", "t0"))
    assert (inspected.steps, inspected.line.phase, len(asked)) == ((), "configured", 1)

    monkeypatch.undo()  # the plug-in is upgraded
    elected = Elected(world, monkeypatch)
    elected.hand_over("t0")
    orchestrator.run(ASKED_AGAIN_S + 60)
    assert not elected.strays("t0")


def test_the_canary_is_first_and_watched_before_the_others(world):
    orchestrator = furnished(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(15)
    assert upgraded(world) == {"s0"}
    orchestrator.run(60)
    assert len(upgraded(world)) == 6


def test_while_paused_nothing_is_begun_and_it_goes_on_afterwards(world):
    orchestrator = furnished(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(5)
    world.upgrades.say(State.PAUSED, "by ann")
    orchestrator.run(300)
    assert len(upgraded(world)) == 1
    world.upgrades.say(State.RUNNING, "by ann")
    orchestrator.run(100)
    assert (len(upgraded(world)), state(world)[0]) == (6, State.DONE)


@pytest.mark.parametrize("seconds", [0.1, 0.6, 1.2, 22.0, 23.0])
def test_after_a_restart_in_any_state_it_goes_on_where_it_was(world, seconds):
    orchestrator = furnished(world)
    Watch(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(seconds)
    begun = {one.key for one in world.upgrades.items(1) if one.stage is not Stage.WAITING}
    world.orchestrator().run(200)
    assert begun <= {one.key for one in world.upgrades.items(1) if one.stage is Stage.DONE}
    assert (len(upgraded(world)), state(world)[0]) == (6, State.DONE)


def test_the_plug_may_be_pulled_between_any_two_steps(world):
    class Pulled(BaseException):
        pass

    orchestrator = furnished(world, singles=2, pairs=1)
    world.upgrades.begin(NEXT, "ann")
    for moment in range(1, 200):
        left = iter(range(moment % 7 + 1))

        def pull(when: str, operation: str, left: Iterator[int] = left) -> None:
            if not operation.startswith("list") and next(left, None) is None:
                raise Pulled

        world.cloud.watch = pull
        try:
            orchestrator.run(30)
            if state(world)[0] is State.DONE:
                break
        except Pulled:
            world.cloud.watch = None
            orchestrator = world.orchestrator()
    assert (len(upgraded(world)), state(world)[0]) == (3, State.DONE)
    assert sum(len(found) for found in world.instances().values()) == 4


def test_it_stops_by_itself_when_what_was_upgraded_gets_worse_and_says_why(world):
    orchestrator = furnished(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(10)
    [first] = world.instances()["s0"]
    world.cloud.degrade(first.id, "SNAT lost", stuck=True)
    orchestrator.run(100)
    stopped, why = state(world)
    assert stopped is State.STOPPED
    assert "router/s0" in why
    assert "SNAT lost" in why
    assert len(upgraded(world)) == 1


def test_one_that_never_gets_well_stops_it_and_what_serves_goes_on_serving(world):
    orchestrator = furnished(world)
    for _ in range(1000):
        world.cloud.inject("create", Terminal("the image does not boot", "build another"))
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(120)
    stopped, why = state(world)
    assert stopped is State.STOPPED
    assert "the image does not boot" in why
    assert len(world.instances()) == 6
    assert all(one.health is Health.HEALTHY for found in world.instances().values() for one in found)


def test_what_was_ill_before_does_not_stop_it(world):
    orchestrator = furnished(world, singles=4, pairs=0)
    for name in ("s0", "s1"):
        world.cloud.degrade(world.instances()[name][0].id, "ill for long", stuck=True)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(300)
    assert state(world)[0] is State.DONE


def test_what_was_upgraded_goes_back_when_it_is_aborted_so(world):
    for number in range(4):
        world.neutron.put_router(router(f"s{number}", ports=("p",)))
    orchestrator = world.orchestrator()
    orchestrator.run(60)
    world.upgrades.begin(UpgradeWish(kind="memory", image="first", soak_s=0.0), "ann")
    orchestrator.run(120)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(10)
    assert {one.image_name for found in world.instances().values() for one in found} == {"first", "next"}
    assert world.upgrades.abort("ann", back=True).wish.back_of == 2
    assert world.upgrades.abort("ann", back=True).number == 3
    orchestrator.run(120)
    assert {one.image_name for found in world.instances().values() for one in found} == {"first"}
    assert state(world)[0] is State.DONE


def test_aborted_means_that_no_new_ones_are_begun_and_another_one_may_follow(world):
    orchestrator = furnished(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(10)
    with pytest.raises(Terminal, match="upgrade 1 to next is running"):
        world.upgrades.begin(UpgradeWish(kind="memory"), "bob")
    assert world.upgrades.begin(NEXT, "bob").number == 1
    world.upgrades.abort("ann", back=False)
    world.upgrades.abort("ann", back=False)
    orchestrator.run(200)
    assert len(upgraded(world)) == 1
    with pytest.raises(Gone):
        world.upgrades.say(State.PAUSED, "by ann")
    world.upgrades.begin(UpgradeWish(kind="memory"), "bob")
    with pytest.raises(Terminal, match="has no images"):
        world.upgrades.abort("bob", back=True)


def test_without_an_image_everything_of_that_kind_is_made_anew_once(world):
    orchestrator = furnished(world)
    before = set(world.cloud.instances)
    world.upgrades.begin(UpgradeWish(kind="memory", soak_s=0.0), "ann")
    orchestrator.run(200)
    assert not before & set(world.cloud.instances)
    after = set(world.cloud.instances)
    orchestrator.run(600)
    assert set(world.cloud.instances) == after


def test_what_is_held_and_what_names_its_image_is_left_alone(world):
    orchestrator = furnished(world, singles=2, pairs=0)
    world.neutron.put_router(router("flavored", ports=("p",), image="frr"))
    orchestrator.event("flavored")
    orchestrator.run(10)
    orchestrator.engine.hold(ResourceKey("router", "s0"), "by hand")
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(200)
    assert upgraded(world) == {"s1"}
    assert state(world) == (State.DONE, "1 upgraded")


def test_one_that_was_frozen_while_another_one_decided_can_do_no_harm(world):
    frozen = furnished(world)
    world.upgrades.begin(NEXT, "ann")
    frozen.run(1)
    other = world.orchestrator()
    other.run(5)
    before = [(item.key, item.stage) for item in world.upgrades.items(1)]
    world.cloud.watch = lambda when, operation: None
    for _ in range(3):
        frozen.upgrading.look()
    assert [(item.key, item.stage) for item in world.upgrades.items(1)] == before
    other.run(200)
    assert (len(upgraded(world)), state(world)[0]) == (6, State.DONE)


def test_while_the_records_are_away_nothing_is_begun_and_it_goes_on_afterwards(world, monkeypatch):
    orchestrator = furnished(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(10)

    def away(*_: object) -> None:
        raise Retry("the database does not answer")

    with monkeypatch.context() as outage:
        for name in ("newest", "items", "editions", "advance"):
            outage.setattr(world.upgrades, name, away)
        orchestrator.run(100)
    assert len(upgraded(world)) == 1
    orchestrator.run(100)
    assert (len(upgraded(world)), state(world)[0]) == (6, State.DONE)


def test_while_the_brake_is_on_nothing_is_begun(world):
    orchestrator = furnished(world, singles=12, pairs=0)
    world.upgrades.begin(structs.replace(NEXT, soak_s=100.0), "ann")
    orchestrator.run(10)
    world.cloud.unreachable.add("h2")
    orchestrator.run(80)
    assert orchestrator.engine.brake().engaged
    orchestrator.run(60)
    assert [item.stage for item in world.upgrades.items(1)].count(Stage.WAITING) == 11
    world.cloud.unreachable.clear()
    orchestrator.run(200)
    assert state(world)[0] is State.DONE


def test_a_credential_that_ends_meanwhile_is_renewed_in_place(world):
    orchestrator = furnished(world, singles=0, pairs=1)
    for one in world.cloud.instances.values():
        one.credential_due = True
    before = set(world.cloud.instances)
    Watch(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(100)
    assert state(world)[0] is State.DONE
    assert not before & set(world.cloud.instances)
    assert len(world.cloud.instances) == 2


def begun(world: World, number: int = 1) -> set[str]:
    return {one.key.id for one in world.upgrades.items(number) if one.stage is not Stage.WAITING}


def ail(world: World, name: str = "s0") -> None:
    for one in world.instances()[name]:
        world.cloud.degrade(one.id, "SNAT lost", stuck=True)


def test_a_pause_does_not_make_good_what_it_stopped_for(world):
    orchestrator = furnished(world, singles=1, pairs=0)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(10)
    ail(world)
    orchestrator.run(60)
    stopped = state(world)
    assert stopped[0] is State.STOPPED
    world.upgrades.say(State.PAUSED, "by bob")
    orchestrator.run(100)
    assert state(world) == stopped


def test_a_canary_that_gets_ill_while_it_is_paused_is_not_followed_by_others(world):
    orchestrator = furnished(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(10)
    world.upgrades.say(State.PAUSED, "by ann")
    ail(world)
    orchestrator.run(100)
    world.upgrades.say(State.RUNNING, "by ann")
    orchestrator.run(100)
    assert (begun(world), state(world)[0]) == ({"s0"}, State.STOPPED)


def test_what_was_upgraded_last_is_watched_although_it_is_paused_meanwhile(world):
    orchestrator = furnished(world, singles=1, pairs=0)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(10)
    world.upgrades.say(State.PAUSED, "by ann")
    ail(world)
    orchestrator.run(100)
    assert state(world)[0] is State.PAUSED
    world.upgrades.say(State.RUNNING, "by ann")
    orchestrator.run(100)
    assert state(world)[0] is State.STOPPED


def test_a_canary_that_is_ill_when_another_one_decides_is_not_followed_by_others(world):
    orchestrator = furnished(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(18)
    ail(world)
    world.orchestrator().run(100)
    assert (begun(world), state(world)[0]) == ({"s0"}, State.STOPPED)


def test_a_canary_that_is_hardly_watched_must_be_well_all_the_same(world):
    orchestrator = furnished(world)
    world.upgrades.begin(UpgradeWish(kind="memory", soak_s=3.0), "ann")
    orchestrator.run(2)
    assert upgraded(world) == {"s0"}
    ail(world)
    orchestrator.run(100)
    assert (begun(world), state(world)[0]) == ({"s0"}, State.STOPPED)


def test_after_it_stopped_it_goes_on_once_what_it_stopped_for_is_held(world):
    orchestrator = furnished(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(10)
    ail(world)
    orchestrator.run(60)
    assert state(world)[0] is State.STOPPED
    orchestrator.engine.hold(ResourceKey("router", "s0"), "ann looks after it")
    world.upgrades.say(State.RUNNING, "")
    orchestrator.run(200)
    assert state(world)[0] is State.DONE
    assert begun(world) == {"s0", "s1", "s2", "s3", "t0", "t1"}


def test_one_that_was_ill_before_and_never_gets_well_does_not_hold_up_the_others(world, monkeypatch):
    orchestrator = furnished(world, singles=6, pairs=0)
    real = MemoryCloud.observed

    def sick(cloud: MemoryCloud, one: Simulated) -> ObservedInstance:
        if one.key.id in ("s1", "s3", "s5"):
            cloud.degrade(one.id, "never well", stuck=True)
        return real(cloud, one)

    monkeypatch.setattr(MemoryCloud, "observed", sick)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(900)
    assert state(world) == (State.DONE, "3 upgraded, 3 did not get well in time, as before")
    assert begun(world) == {f"s{number}" for number in range(6)}


def test_what_was_upgraded_and_is_deleted_meanwhile_does_not_stop_it(world):
    orchestrator = furnished(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(10)
    world.neutron.delete_router("s0")
    orchestrator.event("s0")
    orchestrator.run(200)
    assert state(world) == (State.DONE, "6 upgraded")


def test_what_was_made_from_another_content_under_the_same_name_is_not_verified(world):
    orchestrator = furnished(world)
    world.cloud.image = "sha256:1"
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(120)
    stopped, why = state(world)
    assert stopped is State.STOPPED
    assert "made from sha256:1, although sha256:2 is asked for" in why


def test_the_audit_says_nothing_of_what_a_pause_came_before(world, monkeypatch):
    orchestrator = furnished(world)
    told: list[str] = []
    monkeypatch.setattr(orchestrator.engine, "witness", lambda key, line: told.extend(line.steps))
    world.upgrades.begin(NEXT, "ann")
    real = world.upgrades.advance

    def paused_first(*decided: object) -> object:
        world.upgrades.say(State.PAUSED, "by bob")
        return real(*decided)

    monkeypatch.setattr(world.upgrades, "advance", paused_first)
    orchestrator.run(10)
    assert told == []
    assert begun(world) == set()


def test_what_is_held_meanwhile_is_left_alone_and_holds_up_nobody(world):
    orchestrator = furnished(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(5)
    orchestrator.engine.hold(ResourceKey("router", "s2"), "by hand")
    orchestrator.run(300)
    assert state(world)[0] is State.DONE, state(world)
    assert upgraded(world) == {"s0", "s1", "s3", "t0", "t1"}


def test_back_is_said_once_also_when_everything_is_back(world):
    orchestrator = furnished(world, singles=2, pairs=0)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(100)
    world.upgrades.abort("ann", back=True)
    orchestrator.run(100)
    assert state(world)[0] is State.DONE
    assert world.upgrades.abort("ann", back=True).number == 2
    assert state(world)[0] is State.DONE


def test_one_that_stopped_costs_hardly_anything(world):
    orchestrator = furnished(world)
    for _ in range(1000):
        world.cloud.inject("create", Terminal("the image does not boot", "build another"))
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(120)
    assert state(world)[0] is State.STOPPED
    world.upgrades.abort("ann", back=False)
    orchestrator.run(5)
    before = world.neutron.calls["routers"]
    orchestrator.run(600)
    assert world.neutron.calls["routers"] - before < 80, "one look in ten seconds"


def test_what_is_deleted_is_no_longer_wished_in_any_edition(world):
    orchestrator = furnished(world, singles=2, pairs=0)
    world.upgrades.begin(UpgradeWish(kind="memory", soak_s=0.0), "ann")
    orchestrator.run(60)
    world.neutron.delete_router("s0")
    orchestrator.event("s0")
    orchestrator.run(10)
    world.upgrades.begin(UpgradeWish(kind="memory", soak_s=1.0), "ann")
    orchestrator.run(60)
    assert {key.id for key in world.upgrades.editions()} == {"s1"}


def test_nothing_follows_a_canary_whose_node_is_silent(world):
    orchestrator = furnished(world, singles=12, pairs=0)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(10)
    world.cloud.unreachable.add("h1")
    orchestrator.engine.release_brake()
    orchestrator.run(12)
    assert begun(world) == {"s0"}


def test_what_cannot_be_seen_when_it_begins_counts_neither_as_well_nor_as_ill(world):
    orchestrator = furnished(world)
    world.cloud.unreachable.add("h2")
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(1)
    newest = world.upgrades.newest()
    assert newest is not None
    assert (newest.collected, newest.baseline) == (True, 0.0)


def test_what_an_aborted_one_left_in_work_counts_in_the_budget_of_the_next(world):
    orchestrator = furnished(world, singles=8, pairs=0)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(18)
    for _ in range(1000):
        world.cloud.inject("create", Retry("busy"))
    orchestrator.run(6)
    working = {one.key.id for one in world.upgrades.items(1) if one.stage is Stage.WORK}
    assert len(working) == 3
    world.upgrades.abort("ann", back=False)
    watch = Watch(world)
    world.upgrades.begin(structs.replace(NEXT, image="later", digest=None, canary="100%"), "ann")
    orchestrator.run(2)
    assert begun(world, 2) == working
    world.cloud.faults.clear()
    orchestrator.run(300)
    assert state(world)[0] is State.DONE
    assert watch.most <= 3


@pytest.mark.parametrize(("singles", "pairs"), [(4, 0), (0, 3)])
def test_an_image_that_never_answers_ends_with_the_canary_and_somebody_serves_everything(
    world, monkeypatch, singles, pairs
):
    orchestrator = furnished(world, singles=singles, pairs=pairs)
    real = MemoryCloud.add

    def hung(cloud: MemoryCloud, one: Simulated) -> None:
        real(cloud, one)
        one.hung = bool(one.edition)

    monkeypatch.setattr(MemoryCloud, "add", hung)
    Watch(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(900)
    assert state(world)[0] is State.STOPPED
    assert len(begun(world)) == 1
    for found in world.instances().values():
        assert [one for one in found if not one.hung and one.health is Health.HEALTHY], "the other half, or the old one"
    world.upgrades.abort("ann", back=True)
    monkeypatch.undo()
    orchestrator.run(900)
    assert {line.phase for line in orchestrator.engine.resources()} == {"configured"}
    assert state(world)[0] is State.DONE


@pytest.mark.parametrize("seconds", [3.0, 22.0, 24.0])
def test_a_node_that_dies_in_the_middle_and_comes_back_leaves_everything_upgraded_and_nothing_double(world, seconds):
    nodes = ("h1", "h2", "h3")
    world.nodes = nodes
    world.neutron.announce_nodes([(name, True) for name in nodes])
    orchestrator = furnished(world)
    world.upgrades.begin(NEXT, "ann")
    orchestrator.run(seconds)
    world.silence("h2")
    orchestrator.run(300)
    world.answers("h2")
    orchestrator.run(60)
    if state(world)[0] is State.STOPPED:
        world.upgrades.say(State.RUNNING, "")
    orchestrator.run(300)
    assert state(world) == (State.DONE, "6 upgraded")
    assert {line.phase for line in orchestrator.engine.resources()} == {"configured"}
    found = [one for many in world.instances().values() for one in many]
    assert len(found) == 8, "four single ones and two pairs"
    assert upgraded(world) == {"s0", "s1", "s2", "s3", "t0", "t1"}


def test_what_was_upgraded_last_is_watched_as_long_as_the_canary_was(world):
    orchestrator = furnished(world, singles=2, pairs=0)
    world.upgrades.begin(NEXT, "ann")
    while upgraded(world) != {"s0", "s1"}:
        orchestrator.run(1)
    orchestrator.run(5)
    ail(world, "s1")
    orchestrator.run(100)
    assert state(world)[0] is State.STOPPED


def test_of_many_that_are_done_all_nodes_are_asked_every_few_seconds_not_at_every_step(world):
    orchestrator = furnished(world, singles=12, pairs=0)
    world.upgrades.begin(structs.replace(NEXT, soak_s=0.0), "ann")
    orchestrator.run(5)
    looks, asked = orchestrator.engine.looks, []
    real = looks.listing
    looks.listing = lambda: asked.append(world.clock.now()) or real()
    began = world.clock.now()
    while state(world)[0] is not State.DONE:
        orchestrator.run(1)
    assert len(asked) <= 1 + (world.clock.now() - began) / 5


def test_after_the_records_were_lost_everything_is_made_anew_once_more(world):
    orchestrator = furnished(world, singles=2, pairs=1)
    wish = UpgradeWish(kind="memory", soak_s=0.0)
    world.upgrades.begin(wish, "ann")
    orchestrator.run(100)
    before = set(world.cloud.instances)
    for table in (UPGRADES, UPGRADE_ITEMS, EDITIONS):
        with world.records.asking.transaction() as connection:  # type: ignore[attr-defined]
            connection.execute(sa.delete(table))
    later = world.orchestrator()
    assert world.upgrades.begin(wish, "ann").number == 1
    later.run(100)
    assert not before & set(world.cloud.instances)


def test_a_node_is_drained_in_the_middle_and_somebody_serves_every_router_at_every_moment(world):
    nodes = ("h1", "h2", "h3")
    world.nodes = nodes
    world.neutron.announce_nodes([(name, True) for name in nodes])
    orchestrator = furnished(world, singles=4, pairs=4)
    Watch(world)
    world.upgrades.begin(structs.replace(NEXT, canary="100%"), "ann")
    orchestrator.run(1)
    orchestrator.engine.holds.hold(ResourceKey(NODE, "h1"), "new disks")
    orchestrator.run(300)
    assert state(world) == (State.DONE, "8 upgraded")
    assert {one.host for found in world.instances().values() for one in found} == {"h2", "h3"}
    assert len(upgraded(world)) == 8


def test_the_canary_has_one_of_each_service_the_commonest_first(world):
    for number in range(2):
        world.neutron.put_network(network(f"n{number}", host="h1"))
    orchestrator = furnished(world, singles=3, pairs=0)
    world.upgrades.begin(structs.replace(NEXT, canary="2", soak_s=1000.0), "ann")
    orchestrator.run(1)
    assert [item.key.id for item in world.upgrades.items(1)] == ["s0", "n0", "s1", "n1", "s2"]
    orchestrator.run(60)
    assert upgraded(world) == {"s0", "n0"}


def test_one_that_was_frozen_just_before_it_began_something_is_refused_as_soon_as_another_one_has_looked(
    world, monkeypatch
):
    frozen = furnished(world)
    world.upgrades.begin(structs.replace(NEXT, canary="100%"), "ann")
    frozen.upgrading.look()  # knows now what it concerns
    upgrade, term = world.upgrades.newest(), frozen.engine.term
    real, woken = world.upgrades.items, []

    def looked(number: int) -> Sequence[Item]:
        items = real(number)
        with pytest.raises(Stale):
            world.upgrades.advance(upgrade, term, Decision(begin=(ResourceKey("router", "t1"),)))
        woken.append(True)
        return items

    other = world.orchestrator()
    monkeypatch.setattr(world.upgrades, "items", looked)
    other.upgrading.look()
    assert woken
    monkeypatch.undo()
    assert len(begun(world)) == 3
