"""Which body an instance gets: one this node has, and the same for all its life."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from astara.appliance.api.refusals import Refusal
from astara.appliance.boundaries import Place
from astara.contract.agent import Body, Health
from astara.host.bodies.boundary import BodyFailed
from astara.host.bodies.choice import LostBody, chosen
from astara.host.bodies.namespace.body import NamespaceBody


class Imaged(NamespaceBody):
    kind = "container"

    def images(self) -> tuple[str, ...]:
        return ("debian", "frr")


ENGINE: Any = object()
BODIES = {"namespace": NamespaceBody(ENGINE), "container": Imaged(ENGINE)}


def test_no_image_named_is_the_nodes_default_and_is_remembered_by_name() -> None:
    assert chosen(BODIES, Body(kind="container"), None) == Body(kind="container", image="debian")
    assert chosen(BODIES, Body(kind="container", image="frr"), None).image == "frr"
    assert chosen(BODIES, Body(), None) == Body(kind="namespace", image=None)


@pytest.mark.parametrize(
    ("wish", "field", "listed"),
    [
        (Body(kind="zeppelin"), "$.body.kind", "container, namespace"),
        (Body(kind="container", image="ios"), "$.body.image", "debian, frr"),
        (Body(kind="namespace", image="frr"), "$.body.image", "name no image"),
    ],
)
def test_what_the_node_does_not_have_is_refused_with_what_it_has(wish: Body, field: str, listed: str) -> None:
    with pytest.raises(Refusal) as refused:
        chosen(BODIES, wish, None)
    assert (refused.value.status, refused.value.problem.field) == (422, field)
    assert listed in (refused.value.problem.remedy or "")


def test_an_instance_keeps_its_body_for_life() -> None:
    present = Body(kind="container", image="frr")
    assert chosen(BODIES, Body(kind="container"), present) == present
    for wish, field in ((Body(), "$.body.kind"), (Body(kind="container", image="debian"), "$.body.image")):
        with pytest.raises(Refusal) as refused:
            chosen(BODIES, wish, present)
        assert refused.value.problem.field == field


def test_instances_of_a_kind_the_node_has_lost_are_left_with_the_reason(tmp_path: Path) -> None:
    lost, place = LostBody("container"), Place("x", None, tmp_path)
    state = lost.engine.state(place)
    assert state.health is Health.FAILED
    assert "container" in (state.last_error or "")
    with pytest.raises(BodyFailed):
        lost.end("x", tmp_path)
