"""What an upgrade, or a move, makes of single instances and of pairs: who goes first, who waits for whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from astara.contract.agent import Health, Role, StateView
from astara.model.resource import ObservedInstance, ObservedState, Unknown
from astara.planning.backoff import Attempts
from astara.planning.courses import Circumstances
from astara.planning.plan import fingerprint, noticed, plan
from astara.planning.steps import DeleteInstance, Why, words
from support.builders.resources import present, seen, state, wanted

NOW = 10_000.0
SEAMLESS = Circumstances(seamless=frozenset({"memory", "paper"}))
ACTIVE, STANDBY = (structs.replace(state(), role=role) for role in (Role.ACTIVE, Role.STANDBY))
ENDS = (Why.REPLACED, Why.MOVED)
A1, B2 = wanted("a", host="h1", edition="3"), wanted("b", host="h2", edition="3")


def steps(desired, *instances: ObservedInstance, unreachable=(), circumstances=SEAMLESS) -> list[str]:
    observed = ObservedState(instances, frozenset(unreachable))
    attempts = noticed(desired, observed, Attempts(), NOW)
    return [words(step) for step in plan(desired, observed, attempts, NOW, circumstances).steps]


def half(
    slot: str, view: StateView | Unknown = STANDBY, *, edition: str | None = "", host: str = ""
) -> ObservedInstance:
    return seen(f"i{slot}", slot=slot, host=host or {"a": "h1", "b": "h2"}[slot], view=view, edition=edition)


def made(slot: str, host: str, body: str = "memory") -> list[str]:
    return [f"create instance {slot} on {host} ({body}, 0 ports)", f"push configuration new to slot {slot}"]


def test_a_single_one_is_made_beside_the_one_that_serves_and_cut_over_to():
    assert steps(present(wanted(edition="3")), seen()) == [
        "create instance a on h1 (memory, 0 ports, standby)",
        "push configuration new to slot a",
        "cut slot a over to its memory",
        "delete instance i1 on h1 (surplus)",
    ]


def test_where_two_cannot_be_there_together_the_old_one_goes_first():
    wish = present(wanted(edition="3"), shown="DOWN")
    assert steps(wish, seen(), circumstances=Circumstances())[:2] == [
        "delete instance i1 on h1 (moved)",
        "create instance a on h1 (memory, 0 ports)",
    ]


@pytest.mark.parametrize("edition", ["3", None], ids=["the wished one", "its provider does not tell"])
def test_one_of_the_wished_edition_is_left_alone(edition):
    assert steps(present(wanted(edition="3")), seen(edition=edition)) == []


def test_once_nothing_is_wished_any_edition_will_do():
    assert steps(present(wanted()), seen(edition="3")) == []


def test_of_a_pair_the_half_that_stands_by_is_replaced_and_the_other_one_waits():
    both = half("a", ACTIVE), half("b", STANDBY)
    assert steps(present(A1, B2), *both) == ["delete instance ib on h2 (replaced)", *made("b", "h2")]


def test_then_the_other_half():
    assert steps(present(A1, B2), half("a", ACTIVE), half("b", edition="3")) == [
        "delete instance ia on h1 (replaced)",
        *made("a", "h1"),
    ]


@pytest.mark.parametrize("how", [Unknown.UNREACHABLE, state(Health.FAILED), "unreachable host", "gone"])
def test_no_half_is_upgraded_while_the_other_one_does_not_serve(how):
    ours = half("a", ACTIVE)
    if how == "unreachable host":
        done = steps(present(A1, B2), ours, unreachable=["h2"])
    elif how == "gone":
        done = steps(present(A1, B2), ours)
    else:
        done = steps(present(A1, B2), ours, half("b", how, edition="3"))
    assert not [step for step in done if step.startswith("delete instance ia")]


def test_half_of_a_pair_that_is_placed_elsewhere_goes_before_its_successor_is_made():
    wish = present(wanted("a", host="h3"), wanted("b", host="h2"))
    assert steps(wish, half("a", ACTIVE), half("b")) == ["delete instance ia on h1 (moved)", *made("a", "h3")]


def test_and_stays_while_the_other_half_does_not_serve():
    wish = present(wanted("a", host="h3"), wanted("b", host="h2"))
    assert steps(wish, half("a", ACTIVE), half("b", Unknown.UNREACHABLE)) == []
    assert steps(wish, half("a", ACTIVE), unreachable=["h2"]) == []


def test_a_broken_half_that_is_placed_elsewhere_waits_for_nobody():
    wish = present(wanted("a", host="h3"), wanted("b", host="h2"), shown="DOWN")
    assert steps(wish, half("a", state(Health.FAILED)), unreachable=["h2"]) == [
        "delete instance ia on h1 (moved)",
        *made("a", "h3"),
    ]


def test_on_a_host_that_does_not_answer_nothing_is_ended_and_the_half_is_made_elsewhere():
    wish = present(wanted("a", host="h3"), wanted("b", host="h2"))
    assert steps(wish, half("b"), unreachable=["h1"]) == made("a", "h3")


def test_a_pair_changes_its_body_one_half_after_the_other():
    wish = present(wanted("a", host="h1", provider="paper"), wanted("b", host="h2", provider="paper"))
    assert steps(wish, half("a", ACTIVE), half("b")) == [
        "delete instance ib on h2 (moved)",
        *made("b", "h2", "paper"),
    ]


def test_another_edition_is_another_wish_with_tries_of_its_own():
    assert fingerprint(present(wanted())) != fingerprint(present(wanted(edition="3")))


VIEWS = (ACTIVE, STANDBY, state(Health.FAILED), state(Health.DEGRADED), state(digest="old"), Unknown.UNREACHABLE, None)
halves = st.tuples(st.sampled_from(VIEWS), st.sampled_from(["", "3"]), st.sampled_from(["h1", "h2", "h3"]))


@given(one=halves, other=halves, away=st.frozensets(st.sampled_from(["h1", "h2", "h3"]), max_size=2))
def test_law_no_half_that_serves_is_ended_unless_the_other_one_serves_and_stays(one, other, away):
    found = [
        seen(f"i{slot}", slot=slot, host=host, view=view, edition=edition)
        for slot, (view, edition, host) in (("a", one), ("b", other))
        if view is not None and host not in away
    ]
    observed = ObservedState(tuple(found), away)
    attempts = noticed(present(A1, B2), observed, Attempts(), NOW)
    made_plan = plan(present(A1, B2), observed, attempts, NOW, SEAMLESS)
    ended = [step.instance for step in made_plan.steps if isinstance(step, DeleteInstance) and step.why in ENDS]
    assert len(ended) <= 1
    for instance in ended:
        if instance.state in (ACTIVE, STANDBY):
            rest = [half for half in found if half is not instance]
            assert [half.state for half in rest if isinstance(half.state, StateView)], words(made_plan.steps[0])
            assert all(half.state.health is not Health.FAILED for half in rest)
