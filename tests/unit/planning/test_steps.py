from __future__ import annotations

import itertools
import typing

import pytest

from astara.contract.snapshot import StatusItem, StatusReport
from astara.planning import steps
from astara.planning.steps import (
    AttachPort,
    CreateInstance,
    CutOver,
    DeleteInstance,
    DetachPort,
    EnsurePort,
    FollowActive,
    PushConfig,
    RenewCredential,
    ReportStatus,
    Step,
    Why,
    depends,
    words,
)
from support.builders.resources import port, seen, wanted

UP = StatusReport(routers=(StatusItem(id="r1", status="ACTIVE"),))
ALL: tuple[Step, ...] = (
    CreateInstance(wanted(), replaces=("i1",)),
    DeleteInstance(seen(), Why.REPLACED),
    AttachPort(seen(), port()),
    DetachPort(seen(), "p1"),
    PushConfig(wanted(), seen()),
    RenewCredential(wanted(), seen()),
    CutOver(wanted(), None),
    ReportStatus(UP, serving=True),
    EnsurePort("n1", "h1"),
    FollowActive("r1", "h1"),
)


def test_every_kind_of_step_has_words_and_dependencies():
    assert {type(step) for step in ALL} == set(typing.get_args(steps.Step))
    for step, earlier in itertools.product(ALL, ALL):
        assert words(step)
        assert isinstance(depends(step, earlier), bool)


SURPLUS = DeleteInstance(seen("i9"), Why.SURPLUS)
PUSH_NEW = PushConfig(wanted(), None)


@pytest.mark.parametrize(
    ("step", "earlier", "expected"),
    [
        (CreateInstance(wanted(), replaces=("i1",)), DeleteInstance(seen("i1"), Why.REPLACED), True),
        (CreateInstance(wanted(), replaces=("i1",)), DeleteInstance(seen("i2"), Why.REPLACED), False),
        (PUSH_NEW, CreateInstance(wanted()), True),
        (PUSH_NEW, CreateInstance(wanted("b")), False),
        (PushConfig(wanted(), seen()), AttachPort(seen(), port()), True),
        (PushConfig(wanted(), seen()), DetachPort(seen(), "p9"), False),
        (AttachPort(seen(), port("p1")), DetachPort(seen(), "p1"), True),
        (AttachPort(seen(), port("p1")), DetachPort(seen(), "p2"), False),
        (DetachPort(seen(), "p1"), PushConfig(wanted(), seen()), False),
        (SURPLUS, PUSH_NEW, True),
        (SURPLUS, CutOver(wanted(), None), True),
        (CutOver(wanted(), None), PUSH_NEW, True),
        (CutOver(wanted(), None), PushConfig(wanted("b"), None), False),
        (ReportStatus(UP, serving=True), CutOver(wanted(), None), True),
        (SURPLUS, ReportStatus(UP, serving=False), False),
        (DeleteInstance(seen(), Why.UNWANTED), DeleteInstance(seen("i2"), Why.UNWANTED), False),
        (ReportStatus(UP, serving=True), PUSH_NEW, True),
        (ReportStatus(UP, serving=False), PUSH_NEW, False),
        (ReportStatus(UP, serving=True), SURPLUS, False),
    ],
)
def test_a_failure_stops_only_what_depends_on_it(step, earlier, expected):
    assert depends(step, earlier) is expected
