"""Many orchestrators, any failures: one owner at a time, nothing forgotten (docs/design/ownership.md)."""

from __future__ import annotations

import os

import pytest

from support.schedules import ClusterWorld, unfulfilled

#: Of which weather each is: the first one to look at when something broke. `SCHEDULES=from:to` chooses others.
SOME = range(12)


def weathered(seed: int, *, moments: int = 40, deaf: bool = False) -> ClusterWorld:
    world = ClusterWorld(seed, deaf=deaf)
    try:
        world.storm(moments)
        world.heal()
        # A longest back-off (a minute) and the looks after it: by then all is as it will stay.
        world.run(20.0)
        world.run(150.0, turn_s=0.25)
    finally:
        world.close()
    return world


@pytest.mark.parametrize("seed", SOME)
def test_one_owner_acts_at_a_time_and_no_wish_is_lost(seed):
    world = weathered(seed)
    assert world.judge.wrongs == []
    assert unfulfilled(world) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_schedules(capsys):
    first, _, last = os.environ.get("SCHEDULES", "1000:2000").partition(":")
    acts = refused = wishes = rings = 0
    wrongs: dict[int, list[str]] = {}
    for seed in range(int(first), int(last)):
        world = weathered(seed)
        acts, refused = acts + world.judge.acts, refused + world.judge.refused
        wishes, rings = wishes + world.wishes, rings + len(world.rings.lines)
        if found := [*world.judge.wrongs, *unfulfilled(world)]:
            wrongs[seed] = found
    with capsys.disabled():
        print(f"\n{int(last) - int(first)} schedules: {acts} acts, {refused} refused, {wishes} wishes, {rings} rings")
    assert wrongs == {}


@pytest.mark.slow
def test_the_judge_finds_out_places_that_do_not_listen_to_terms():
    assert any(weathered(seed, deaf=True).judge.wrongs for seed in range(1000, 1040))
