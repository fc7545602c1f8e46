"""How an upgrade goes on: laws over any course of events."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from astara.model.resource import ResourceKey
from astara.model.upgrade import Item, Stage, State, Upgrade, UpgradeWish
from astara.planning.rollout import Budget, Decision, Probe, canary_size, decide

WISH = UpgradeWish(kind="microvm", image="next", canary="2", soak_s=30.0, deadline_s=100.0)
RUNNING = Upgrade(number=3, wish=WISH, state=State.RUNNING, by="ann", at=0.0, collected=True)
WELL, ILL, VERIFIED = Probe(), Probe(ill=True, because="SNAT lost"), Probe(verified=True)


def key(number: int) -> ResourceKey:
    return ResourceKey("router", f"r{number}")


def item(number: int, stage: Stage = Stage.WAITING, hosts: str = "a", since: float = 0.0) -> Item:
    return Item(key(number), stage, frozenset(hosts), since)


def carried_out(upgrade: Upgrade, items: list[Item], decision: Decision, now: float) -> tuple[Upgrade, list[Item]]:
    """What the records make of a decision."""
    moved = dict.fromkeys(decision.done, Stage.DONE) | dict.fromkeys(decision.begin, Stage.WORK)
    items = [replace(one, stage=moved[one.key], since=now) if one.key in moved else one for one in items]
    if decision.soak_until is not None:
        upgrade = structs.replace(upgrade, soaked_at=decision.soak_until)
    if decision.state is not None:
        upgrade = structs.replace(upgrade, state=decision.state, why=decision.why)
    return upgrade, items


hosts = st.sets(st.sampled_from("abcd"), min_size=1, max_size=2)
words = st.lists(st.sampled_from(["look", "look", "look", "pause", "resume", "time", "restart"]), max_size=60)


@given(
    homes=st.lists(hosts, max_size=12),
    said=words,
    verified=st.randoms(use_true_random=False),
    budget=st.builds(Budget, per_node=st.integers(1, 3), in_total=st.integers(1, 4)),
)
def test_never_more_than_the_budget_never_begun_while_paused_the_canary_alone_first(homes, said, verified, budget):
    items = [Item(key(number), Stage.WAITING, frozenset(home), 0.0) for number, home in enumerate(homes)]
    upgrade, now = RUNNING, 0.0
    for word in said:
        if word == "time":
            now += 20.0
        elif word in ("pause", "resume") and not upgrade.state.over:
            upgrade = structs.replace(upgrade, state=State.PAUSED if word == "pause" else State.RUNNING)
        else:
            working = [one for one in items if one.stage is Stage.WORK]
            probes = {one.key: VERIFIED for one in working if verified.random() < 0.5}
            soaking = upgrade.soaked_at is None or now < upgrade.soaked_at
            decision = decide(upgrade, items, probes, now, budget)
            assert not (decision.begin and upgrade.state is not State.RUNNING)
            upgrade, items = carried_out(upgrade, items, decision, now)
            begun = [one for one in items if one.stage is not Stage.WAITING]
            # What is watched at the end, all begun, is watched like the canary.
            assert len(begun) <= 2 or not soaking or not decision.begin
        busy = [one for one in items if one.stage is Stage.WORK]
        assert len(busy) <= budget.in_total
        assert max(Counter(host for one in busy for host in one.hosts).values(), default=0) <= budget.per_node


@given(homes=st.lists(hosts, max_size=12), budget=st.builds(Budget, st.integers(1, 3), st.integers(1, 4)))
def test_from_whatever_state_everything_is_upgraded_once_what_is_begun_gets_well(homes, budget):
    items = [
        Item(key(number), list(Stage)[number % 3] if number < 2 else Stage.WAITING, frozenset(home), 0.0)
        for number, home in enumerate(homes)
    ]
    upgrade, now = RUNNING, 0.0
    for _ in range(200):
        probes = {one.key: VERIFIED for one in items if one.stage is Stage.WORK}
        upgrade, items = carried_out(upgrade, items, decide(upgrade, items, probes, now, budget), now)
        now += 5.0
    assert upgrade.state is State.DONE
    assert {one.stage for one in items} <= {Stage.DONE}


def test_it_stops_at_the_first_that_gets_worse_and_says_which_and_why():
    items = [item(1, Stage.DONE), item(2, Stage.WAITING)]
    decision = decide(RUNNING, items, {key(1): ILL}, 1.0, Budget())
    assert (decision.state, decision.begin) == (State.STOPPED, ())
    assert decision.why == "1 of 1 upgraded got worse: router/r1: SNAT lost"


def test_one_that_is_not_verified_in_time_is_worse():
    items = [item(1, Stage.WORK, since=50.0)]
    assert decide(RUNNING, items, {}, 150.0, Budget()).state is None
    late = decide(RUNNING, items, {key(1): Probe(because="no answer")}, 150.1, Budget())
    assert late.state is State.STOPPED
    assert "router/r1: not verified within 100 s: no answer" in late.why


@pytest.mark.parametrize(("ill", "stops"), [(1, False), (2, False), (3, True)])
def test_no_more_may_be_ill_than_were_before(ill, stops):
    items = [item(number, Stage.DONE) for number in range(4)] + [item(9)]
    decision = decide(
        structs.replace(RUNNING, baseline=0.5), items, {key(n): ILL for n in range(ill)}, 0.0, Budget(1, 1)
    )
    assert (decision.state is State.STOPPED) is stops


def test_while_something_speaks_against_it_nothing_is_begun_and_what_is_begun_is_noted():
    items = [item(1, Stage.WORK), item(2, hosts="b")]
    decision = decide(RUNNING, items, {key(1): VERIFIED}, 1.0, Budget(), waits="the brake is on")
    assert decision == Decision(done=(key(1),))


def test_what_was_aborted_is_never_begun_again_and_its_last_ones_are_noted():
    aborted = structs.replace(RUNNING, state=State.ABORTED)
    assert decide(aborted, [item(1, Stage.WORK), item(2)], {key(1): VERIFIED}, 1.0, Budget()) == Decision(
        done=(key(1),)
    )


def test_an_upgrade_of_nothing_is_done_at_once():
    decision = decide(RUNNING, [], {}, 1.0, Budget())
    assert (decision.state, decision.why) == (State.DONE, "nothing runs anything else")


@pytest.mark.parametrize(("text", "size"), [("1", 1), ("7", 7), ("5%", 2), ("1%", 1), ("100%", 40)])
def test_a_canary_is_a_number_or_a_share(text, size):
    assert canary_size(text, 40) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "5 %%", "101%", "many", "٣"])
def test_anything_else_is_no_canary(text):
    with pytest.raises(ValueError, match="no canary"):
        canary_size(text, 40)


@given(
    homes=st.lists(hosts, min_size=1, max_size=8),
    left=st.lists(hosts, max_size=4),
    shared=st.integers(0, 4),
    budget=st.builds(Budget, st.integers(1, 3), st.integers(1, 4)),
)
def test_what_an_upgrade_before_left_in_work_counts_in_the_same_budget_and_may_be_begun_itself(
    homes, left, shared, budget
):
    upgrade = structs.replace(RUNNING, soaked_at=0.0)
    items = [Item(key(number), Stage.WAITING, frozenset(home), 0.0) for number, home in enumerate(homes)]
    besides = [replace(one, stage=Stage.WORK) for one in items[:shared]]
    besides += [Item(key(100 + number), Stage.WORK, frozenset(home), 0.0) for number, home in enumerate(left)]
    begun = decide(upgrade, items, {}, 1.0, budget, besides=besides).begin
    new = [one for one in items if one.key in begun and one.key not in {other.key for other in besides}]
    assert len(new) <= max(0, budget.in_total - len(besides))
    busy = Counter(host for one in (*besides, *new) for host in one.hosts)
    assert all(busy[host] <= budget.per_node for one in new for host in one.hosts)
    assert {one.key for one in items[:shared]} <= set(begun)
