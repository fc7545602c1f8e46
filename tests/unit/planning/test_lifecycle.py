"""Every phase under every wish: reached, declared, and with a way on."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from astara.contract.agent import Health
from astara.model.resource import Absent, DesiredState, ObservedState, PortNeeded, Unknown
from astara.planning.backoff import Attempts
from astara.planning.classify import Phase, classify
from astara.planning.diagram import page
from astara.planning.lifecycle import LIFECYCLE, Action, wish_of
from astara.planning.plan import plan
from astara.planning.policy import Policy
from support.builders.resources import port, present, seen, state, wanted

WISHES: tuple[DesiredState, ...] = (
    Absent(5),
    PortNeeded(5, "n1", "h1"),
    present(unmet="no node"),
    present(),
    present(wanted()),
    present(wanted(), unmet="one port is not bound"),
    present(wanted(ports=(port(),))),
    present(wanted("a"), wanted("b", host="h2")),
)
VIEWS = (
    *(state(health, digest) for health in Health for digest in ("new", "old", None)),
    Unknown.UNREACHABLE,
)
SIGHTS = tuple(
    ObservedState(instances, frozenset(hosts))
    for hosts in ((), ("h1",), ("h2",))
    for instances in (
        (),
        *((seen(view=view),) for view in VIEWS),
        *((seen(view=view), seen("i2", slot="b", host="h2")) for view in VIEWS),
        *((seen(view=view), seen("i3", host="h2")) for view in VIEWS),
        *((seen(view=view, credential_due=True),) for view in VIEWS),
        *((seen(view=view, standby=True), seen("i4", provider="paper")) for view in VIEWS),
    )
)
EVERYTHING = tuple(itertools.product(WISHES, SIGHTS))


def test_exactly_the_declared_phases_are_reached_and_none_is_missing():
    reached = {(wish_of(desired), classify(desired, observed).phase) for desired, observed in EVERYTHING}
    assert reached == set(LIFECYCLE)
    assert len(EVERYTHING) > 900


def test_every_phase_is_part_of_the_lifecycle():
    assert {phase for _, phase in LIFECYCLE} == set(Phase)


@pytest.mark.parametrize("row", LIFECYCLE.items(), ids=str)
def test_every_row_acts_or_is_looked_at_again_or_is_settled(row):
    _, transition = row
    ways = [transition.does is not Action.NOTHING, transition.look_again is not None, transition.settled]
    assert any(ways)
    assert (transition.deadline is None) == (transition.then is None)
    for name in filter(None, (transition.deadline, transition.look_again)):
        assert isinstance(getattr(Policy(), name), float)


@pytest.mark.parametrize("waited_s", [0.0, 1e6])
@pytest.mark.parametrize("blocked_s", [0.0, 30.0])
def test_no_plan_waits_for_ever__whatever_is_wished_and_seen(waited_s, blocked_s):
    now = 1e7
    for desired, observed in EVERYTHING:
        attempts = Attempts(tries=3, since=now - waited_s, not_before=now + blocked_s)
        made = plan(desired, observed, attempts, now)
        settled = made.phase in (Phase.CONFIGURED, Phase.GONE)
        assert made.steps or made.requeue_after_s is not None or settled, (desired, observed)
        if blocked_s:
            assert not made.acts, "held back after a failure, nothing may be touched"


def test_no_plan_ever_touches_a_host_that_does_not_answer():
    for desired, observed in EVERYTHING:
        for step in plan(desired, observed, Attempts(), 1e7).steps:
            host = getattr(getattr(step, "instance", None), "host", None) or getattr(
                getattr(step, "wanted", None), "host", None
            )
            assert host not in observed.unreachable_hosts


def test_the_committed_diagram_is_the_generated_one():
    committed = Path(__file__).parents[3] / "docs" / "design" / "lifecycle.md"
    assert committed.read_text() == page(), "run docs/design/generate_lifecycle.py"
