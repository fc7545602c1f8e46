"""What is planned, as a table of worlds."""

from __future__ import annotations

from dataclasses import replace as replaced
from typing import Any

import pytest
from msgspec.structs import replace

from astara.contract.agent import Health, Role
from astara.model.resource import Absent, Binding, ObservedInstance, ObservedState, PortNeeded, Present, Unknown
from astara.planning.backoff import Attempts, Failure, FailureKind
from astara.planning.classify import Phase
from astara.planning.courses import Circumstances
from astara.planning.plan import Plan, noticed, plan
from astara.planning.policy import Policy
from astara.planning.steps import words
from support.builders.resources import port, present, seen, state, wanted

NOW = 10_000.0
P1, P2, P3 = port("p1"), port("p2"), port("p3")


def made(desired, *instances, unreachable=(), attempts=None, circumstances=None) -> Plan:
    observed = ObservedState(instances, frozenset(unreachable))
    attempts = noticed(desired, observed, attempts or Attempts(), NOW)
    return plan(desired, observed, attempts, NOW, circumstances or Circumstances())


def said(plan_made: Plan) -> list[str]:
    return [words(step) for step in plan_made.steps]


CREATE = "create instance a on h1 (memory, 0 ports)"
PUSH = "push configuration new to slot a"
UP = "report 1 router ACTIVE"
DOWN = "report 1 router DOWN"
ERROR = "report 1 router ERROR"

TABLE = {
    "absent is built, and down until it is": (present(wanted()), (), [DOWN, CREATE, PUSH, UP]),
    "a status that is right already is not written": (present(wanted(), shown="DOWN"), (), [CREATE, PUSH, UP]),
    "unconfigured is configured": (
        present(wanted(), shown="DOWN"),
        (seen(view=state(Health.UNCONFIGURED, None)),),
        [PUSH, UP],
    ),
    "outdated is configured, its status left alone": (present(wanted()), (seen(view=state(digest="old")),), [PUSH]),
    "degraded is configured": (present(wanted()), (seen(view=state(Health.DEGRADED)),), [PUSH]),
    "failed is replaced": (
        present(wanted()),
        (seen(view=state(Health.FAILED)),),
        [DOWN, "delete instance i1 on h1 (replaced)", CREATE, PUSH, UP],
    ),
    "silent is given time": (present(wanted()), (seen(view=Unknown.UNREACHABLE),), []),
    "a credential that ends is renewed, and nothing else is touched": (
        present(wanted(ports=(P1,))),
        (seen(view=state(digest="old"), credential_due=True),),
        ["renew the credential of i1"],
    ),
    "configured is left alone": (present(wanted()), (seen(),), []),
    "configured is shown": (present(wanted(), shown="ERROR"), (seen(),), [UP]),
    "gone is left alone": (Absent(5), (), []),
    "unwanted is deleted": (Absent(5), (seen(),), ["delete instance i1 on h1 (unwanted)"]),
    "a missing service port is asked for": (
        PortNeeded(5, "n1", "h1"),
        (),
        ["ensure the service port of network n1 on h1"],
    ),
    "an unmet wish waits, down": (present(unmet="no node"), (), [DOWN]),
    "an unmet wish leaves what runs alone": (present(unmet="no node"), (seen(),), []),
    "what is met of a wish is built": (present(wanted(), unmet="p9 unbound"), (), [DOWN, CREATE, PUSH, UP]),
    "a move makes before it breaks": (
        present(wanted(host="h2")),
        (seen(),),
        ["create instance a on h2 (memory, 0 ports)", PUSH, "delete instance i1 on h1 (surplus)"],
    ),
    "during a move both may carry the same id": (
        present(wanted(host="h2")),
        (seen("i1", host="h1"), seen("i1", host="h2")),
        ["delete instance i1 on h1 (surplus)"],
    ),
    "of a double slot the configured one stays": (
        present(wanted()),
        (seen("i1", view=state(digest="old")), seen("i2", created_at=9.0)),
        ["delete instance i1 on h1 (surplus)"],
    ),
    "of two equals the older stays": (
        present(wanted()),
        (seen("i1", created_at=9.0), seen("i2", created_at=3.0)),
        ["delete instance i1 on h1 (surplus)"],
    ),
    "ports: attach before the push, detach after it, each by its id": (
        present(wanted(ports=(P1, P3))),
        (seen(ports=(P1, P2)),),
        ["attach port p3 to i1", PUSH, "detach port p2 from i1"],
    ),
    "a port with another MAC is another link": (
        present(wanted(ports=(port("p1", mac="other"),))),
        (seen(ports=(P1,)),),
        ["detach port p1 from i1", "attach port p1 to i1", PUSH],
    ),
    "a port with another MTU stays plugged": (
        present(wanted(ports=(port("p1", mtu=9000),))),
        (seen(ports=(P1,)),),
        ["attach port p1 to i1", PUSH],
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_table(case):
    desired, instances, expected = TABLE[case]
    assert said(made(desired, *instances)) == expected


def test_an_unreachable_host_is_waited_for():
    plan_made = made(present(wanted()), unreachable=["h1"])
    assert plan_made.phase is Phase.UNREACHABLE
    assert said(plan_made) == []
    assert plan_made.requeue_after_s == Policy().unreachable_look_s


def test_a_silent_instance_is_replaced_after_its_deadline_and_not_before():
    desired, hung = present(wanted(), shown="DOWN"), seen(view=Unknown.UNREACHABLE)
    waiting = Attempts(phase=Phase.SILENT, since=NOW - Policy().silent_deadline_s + 1)
    assert made(desired, hung, attempts=waiting).requeue_after_s == 1.0
    over = Attempts(phase=Phase.SILENT, since=NOW - Policy().silent_deadline_s)
    assert made(desired, hung, attempts=over).rebuilds


def test_the_brake_stops_replacements_and_nothing_else():
    braked = Circumstances(braked=True)
    assert not made(present(wanted()), seen(view=state(Health.FAILED)), circumstances=braked).acts
    assert made(present(wanted()), circumstances=braked).acts
    assert made(Absent(1), seen(), circumstances=braked).acts


def test_a_replacement_has_a_budget_and_error_is_shown_when_it_is_used_up():
    attempts = Attempts(rebuilds=tuple(NOW - 100.0 + n for n in range(Policy().rebuild_budget)))
    plan_made = made(present(wanted()), seen(view=state(Health.FAILED)), attempts=attempts)
    assert said(plan_made) == [ERROR]
    assert plan_made.requeue_after_s is not None


def test_the_operators_rebuild_overrides_brake_and_budget():
    attempts = Attempts(rebuilds=(NOW,) * 9)
    circumstances = Circumstances(braked=True, condemned=frozenset({"i1"}))
    assert made(present(wanted()), seen(), attempts=attempts, circumstances=circumstances).rebuilds


def test_a_provider_that_cannot_plug_gets_a_new_instance_for_new_ports():
    rigid = Circumstances(rigid=frozenset({"memory"}))
    assert made(present(wanted(ports=(P1,))), seen(), circumstances=rigid).rebuilds


@pytest.mark.parametrize("serving", [state(), state(digest="old"), state(Health.DEGRADED)])
def test_one_of_a_pair_is_replaced_only_while_the_other_is_there(serving):
    pair = present(wanted("a"), wanted("b", host="h2"))
    broken = seen("i1", view=state(Health.FAILED))
    assert made(pair, broken, seen("i2", slot="b", host="h2", view=serving)).rebuilds
    both = made(pair, broken, seen("i2", slot="b", host="h2", view=state(Health.FAILED)))
    assert sum("replaced" in line for line in said(both)) == 1


def test_nothing_is_touched_before_its_time_but_the_verdict_is_shown():
    failure = Failure(FailureKind.TERMINAL, "refused: $.links[0]", "fix the route")
    desired = present(wanted())
    attempts = noticed(desired, ObservedState(), Attempts(), NOW)
    for _ in range(Policy().failure_budget):
        attempts = attempts.failed(failure, NOW, Policy().backoff, 0.0)
    plan_made = made(desired, attempts=attempts)
    assert said(plan_made) == [ERROR]
    assert "refused: $.links[0] (fix the route)" in plan_made.because
    assert plan_made.requeue_after_s == attempts.not_before - NOW
    assert made(present(wanted(digest="fixed")), attempts=attempts).acts


def test_a_plan_is_a_value__the_same_world_gives_the_same_plan():
    desired = present(wanted(ports=(P1, P2)))
    assert made(desired, seen(ports=(P3,))) == made(desired, seen(ports=(P3,)))


TO_PAPER = present(wanted(provider="paper"))
SEAMLESS = Circumstances(seamless=frozenset({"memory", "paper"}))
CUT = "cut slot a over to its paper"
OLD_GOES = "delete instance i1 on h1 (surplus)"


def test_another_body_is_made_and_configured_beside_the_old_one_which_leaves_last():
    assert said(made(TO_PAPER, seen(), circumstances=SEAMLESS)) == [
        "create instance a on h1 (paper, 0 ports, standby)",
        PUSH,
        CUT,
        OLD_GOES,
    ]


def test_a_body_that_cannot_be_beside_another_follows_it():
    """The same MAC address twice on one network cuts both off."""
    assert said(made(TO_PAPER, seen())) == [
        "delete instance i1 on h1 (moved)",
        "create instance a on h1 (paper, 0 ports)",
        PUSH,
    ]


@pytest.mark.parametrize(
    ("view", "steps"),
    [
        (state(Health.UNCONFIGURED, None), [PUSH, CUT, OLD_GOES]),
        (state(digest="old"), [PUSH, CUT, OLD_GOES]),
        (state(), [CUT, OLD_GOES]),
        (Unknown.UNREACHABLE, []),
    ],
)
def test_a_move_goes_on_from_wherever_it_was_interrupted(view, steps):
    new = seen("i2", view=view, provider="paper", standby=True)
    assert said(made(TO_PAPER, seen(), new, circumstances=SEAMLESS)) == steps


def test_after_the_cut_over_only_the_old_one_is_left_to_leave():
    old, new = seen(standby=True), seen("i2", provider="paper")
    assert said(made(TO_PAPER, old, new, circumstances=SEAMLESS)) == [OLD_GOES]


def test_a_move_taken_back_in_the_middle_never_unplugs_what_serves():
    new = seen("i2", provider="paper", standby=True)
    assert said(made(present(wanted()), seen(), new, circumstances=SEAMLESS)) == ["delete instance i2 on h1 (surplus)"]


def test_what_stands_by_is_plugged_in_although_the_other_one_is_gone():
    new = seen("i2", provider="paper", standby=True)
    assert said(made(TO_PAPER, new, circumstances=SEAMLESS)) == [CUT]


def half(slot: str, role: Role, **more: Any) -> ObservedInstance:
    return seen(f"i{slot}", slot=slot, host=f"h{slot}", view=replace(state(), role=role), **more)


def halves() -> Present:
    return present(*(wanted(slot, host=f"h{slot}", image="new") for slot in "01"))


def test_of_a_pair_the_half_that_stands_by_is_replaced_first() -> None:
    """W10: both members rebuilt at once. The active one serves until the other one can."""
    old = (half("0", Role.ACTIVE, image="old"), half("1", Role.STANDBY, image="old"))
    steps = said(made(halves(), *old))
    assert [step for step in steps if "delete" in step] == ["delete instance i1 on h1 (replaced)"]

    next_turn = said(made(halves(), old[0], half("1", Role.STANDBY, image="new")))
    assert [step for step in next_turn if "delete" in step] == ["delete instance i0 on h0 (replaced)"]


def test_a_degraded_pair_is_configured_all_the_same() -> None:
    """W7: one half is dead; the other one forwards and gets what is new."""
    outdated = replace(state(digest="old"), role=Role.ACTIVE)
    left = seen("i0", slot="0", host="h0", view=outdated, image="new")
    assert "push configuration new to slot 0" in said(made(halves(), left))


@pytest.mark.parametrize(
    ("roles", "words_"),
    [
        ((Role.ACTIVE, Role.ACTIVE), "both halves are active"),
        ((Role.STANDBY, Role.STANDBY), "no half is active"),
        ((Role.YIELDING, Role.ACTIVE), "the half on h0 stands back"),
        ((Role.ACTIVE, Role.STANDBY), ""),
    ],
)
def test_halves_that_disagree_are_told(roles: tuple[Role, Role], words_: str) -> None:
    because = made(halves(), *(half(slot, role, image="new") for slot, role in zip("01", roles, strict=True))).because
    assert words_ in because
    assert bool(words_) == bool(because)


def bound(*hosts: str) -> Present:
    return replaced(halves(), binding=Binding("r1", hosts) if hosts else None)


@pytest.mark.parametrize(
    ("hosts", "roles", "steps"),
    [
        (("h0",), (Role.STANDBY, Role.ACTIVE), ["bind the ports to h1, where the active half is"]),
        (("h0", "h1"), (Role.ACTIVE, Role.STANDBY), ["bind the ports to h0, where the active half is"]),
        (("h1",), (Role.STANDBY, Role.ACTIVE), []),
        (("h0",), (Role.ACTIVE, Role.ACTIVE), []),
        (("h0",), (Role.STANDBY, Role.STANDBY), []),
        ((), (Role.STANDBY, Role.ACTIVE), []),
    ],
)
def test_the_binding_follows_the_active_half_and_nobody_else(
    hosts: tuple[str, ...], roles: tuple[Role, Role], steps: list[str]
) -> None:
    both = (half(slot, role, image="new") for slot, role in zip("01", roles, strict=True))
    assert said(made(bound(*hosts), *both)) == steps


def test_two_that_say_to_be_active_are_asked_again_soon() -> None:
    """Nobody tells when one of them is no longer: a lease ends in silence."""
    both = [half(slot, Role.ACTIVE, image="new") for slot in "01"]
    assert made(bound("h0"), *both).requeue_after_s == Policy().discord_look_s
    assert made(bound(), *both).requeue_after_s is None
    assert made(bound("h0"), *both, circumstances=Circumstances(follows=False)).requeue_after_s is None
    assert made(bound("h0"), both[0], half("1", Role.STANDBY, image="new")).requeue_after_s is None


def test_the_binding_follows_also_while_the_other_half_is_made_anew() -> None:
    steps = said(made(bound("h0"), half("1", Role.ACTIVE, image="new")))
    assert steps[0] == "bind the ports to h1, where the active half is"
    assert "create instance 0 on h0 (memory, 0 ports)" in steps
