from __future__ import annotations

import pytest

from astara.cluster.membership import ClusterOptions, Membership
from astara.model.cluster import Member
from astara.model.resource import ResourceKey
from support.clock import VirtualClock
from support.fakes.cluster import FakeCoordinator, FakeGroup, FakeRings

KEYS = [ResourceKey("router", f"r{number}") for number in range(200)]
OPTIONS = ClusterOptions(lease_s=3.0)


class Cluster:
    """Members whose threads are this test."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.group = FakeGroup(self.clock)
        self.rings = FakeRings()
        self.alive: dict[str, Membership] = {}
        self.started = 0

    def start(self, name: str, weight: float = 1.0) -> Membership:
        self.started += 1
        me = Member(name=name, incarnation=f"{self.started:04d}", weight=weight)
        member = Membership(me, FakeCoordinator(self.group, me), self.rings, self.clock, OPTIONS)
        self.alive[name] = member
        return member

    def run(self, for_s: float) -> None:
        """Let everybody alive beat."""
        end = self.clock.now() + for_s
        while True:
            for member in tuple(self.alive.values()):
                member.pulse()
                member.look()
            if self.clock.now() >= end:
                return
            self.clock.advance(min(OPTIONS.beat_s, end - self.clock.now()))

    def owners(self, key: ResourceKey) -> list[str]:
        return [name for name, member in self.alive.items() if member.term(key) is not None]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def three(cluster) -> Cluster:
    for name in "abc":
        cluster.start(name)
    cluster.run(5)
    return cluster


def names(cluster: Cluster) -> list[str]:
    return [member.name for member in cluster.rings.newest().members]


def test_each_key_has_one_owner_and_all_members_share_them(three):
    owned = [three.owners(key) for key in KEYS]
    assert {len(owners) for owners in owned} == {1}
    assert {owners[0] for owners in owned} == {"a", "b", "c"}


def test_one_that_is_alone_owns_everything(cluster):
    alone = cluster.start("a")
    cluster.run(0)
    assert all(alone.term(key) == alone.epoch for key in KEYS)


def test_nobody_owns_anything_before_the_first_ring(cluster):
    member = cluster.start("a")
    assert not any(member.owns(key) or member.term(key) for key in KEYS)
    assert member.epoch == 0


def test_a_dead_member_s_keys_are_others_within_five_seconds_and_no_other_key_moves(three):
    before = {key: three.owners(key)[0] for key in KEYS}
    del three.alive["b"]
    three.run(5)
    assert names(three) == ["a", "c"]
    after = {key: three.owners(key)[0] for key in KEYS}
    assert all(after[key] == owner for key, owner in before.items() if owner != "b")
    assert {after[key] for key, owner in before.items() if owner == "b"} == {"a", "c"}


def test_one_that_leaves_owns_nothing_at_once_and_the_others_take_over_with_their_next_beat(three):
    leaver = three.alive.pop("b")
    leaver.leave()
    assert not any(leaver.owns(key) or leaver.term(key) for key in KEYS)
    three.run(OPTIONS.beat_s)
    assert all(len(three.owners(key)) == 1 for key in KEYS)


def test_one_that_left_does_not_come_back_with_its_next_beat(three):
    three.alive["b"].leave()
    three.run(2)
    assert names(three) == ["a", "c"]
    assert [member.name for member in three.group.beats] == ["a", "c"]


def test_a_restarted_one_is_somebody_new_and_gets_back_what_it_had(three):
    before = {key: three.owners(key)[0] for key in KEYS}
    epoch = three.rings.newest().epoch
    three.start("b")
    three.run(OPTIONS.beat_s)
    assert {key: three.owners(key)[0] for key in KEYS} == before
    assert three.rings.newest().epoch > epoch


def test_an_older_process_of_the_same_name_owns_nothing_any_more(three):
    older = three.alive["b"]
    three.start("b")
    three.alive["b, the older"] = older
    three.run(2)
    assert not any(older.owns(key) for key in KEYS)


def test_one_that_was_frozen_acts_on_nothing_before_it_has_looked(three):
    frozen = three.alive.pop("b")
    [mine, *_] = [key for key in KEYS if frozen.term(key)]
    three.run(10)
    assert frozen.owns(mine)  # it knows no better
    assert frozen.term(mine) is None
    frozen.pulse()  # whichever thread wakes first
    assert frozen.term(mine) is None
    frozen.look()  # it joins again; who has its work does not know yet, and has the older term
    [successor] = three.owners(mine)
    assert frozen.term(mine) > three.alive[successor].term(mine)


def test_while_the_coordinator_is_away_those_with_a_ring_go_on_and_nobody_takes_over(three):
    three.group.down = True
    epoch = three.rings.newest().epoch
    dead = three.alive.pop("c")
    three.run(60)
    assert three.rings.newest().epoch == epoch
    assert all(len(three.owners(key)) == (0 if dead.owns(key) else 1) for key in KEYS)
    assert "does not answer" in three.alive["a"].standing().coordination


def test_a_coordinator_that_forgot_everybody_moves_nothing(three):
    epoch = three.rings.newest().epoch
    three.group.down = True
    three.run(2)
    three.group.forget_everything()
    three.group.down = False
    three.run(20)
    assert three.rings.newest().epoch == epoch


def test_who_died_while_the_coordinator_was_away_is_noticed_after_it_came_back(three):
    three.group.down = True
    del three.alive["c"]
    three.run(2)
    three.group.forget_everything()
    three.group.down = False
    three.run(5)
    assert names(three) == ["a", "b"]


def test_one_cut_off_from_the_coordinator_alone_reads_in_the_database_that_it_is_out(three):
    three.group.cut_off.add("b")
    three.run(6)
    assert names(three) == ["a", "c"]
    assert not any(three.alive["b"].owns(key) for key in KEYS)
    three.group.cut_off.clear()
    three.run(2)
    assert names(three) == ["a", "b", "c"]


def test_while_the_database_is_away_nobody_takes_over_and_everybody_goes_on(three):
    owners = {key: three.owners(key) for key in KEYS}
    three.rings.down = True
    three.run(30)
    assert {key: three.owners(key) for key in KEYS} == owners
    assert "does not answer" in three.alive["a"].standing().records
    del three.alive["b"]
    three.run(30)
    three.rings.down = False
    three.run(2)
    assert names(three) == ["a", "c"]


def test_a_table_restored_from_an_old_copy_gives_nobody_an_older_epoch(three):
    copy = dict(three.rings.lines)
    three.start("d")
    three.run(5)
    epoch = three.alive["a"].epoch
    three.rings.lines, three.rings.followed = copy, set()
    three.run(5)
    assert three.alive["a"].epoch > epoch
    assert {member.epoch for member in three.alive.values()} == {three.rings.newest().epoch}


def test_weights_are_told_to_the_others(cluster):
    cluster.start("a"), cluster.start("b", weight=3.0)
    cluster.run(5)
    mine = sum(cluster.alive["b"].owns(key) for key in KEYS)
    assert 0.6 * len(KEYS) < mine < 0.9 * len(KEYS)


def test_epochs_are_at_least_the_wall_clock_s_seconds_so_that_a_lost_table_does_not_make_everybody_stale(cluster):
    cluster.start("a")
    cluster.run(0)
    assert cluster.alive["a"].epoch >= int(cluster.clock.wall())


def test_a_story_is_told_of_each_ring(three):
    del three.alive["b"]
    three.run(5)
    [newest, *_] = three.rings.story(10)
    assert newest.why == "b went"
