"""In what body a resource runs, and what it says when that cannot be had."""

from __future__ import annotations

import pytest

from astara.model.resource import Absent
from astara.planning.bodies import Offers, housed
from support.builders.resources import present, wanted

OFFERS = Offers(
    installed=frozenset({"memory", "container", "microvm"}),
    enabled=frozenset({"memory", "container"}),
    by_host=frozenset({"container"}),
    on_hosts={"h1": frozenset({"namespace"}), "h2": frozenset({"namespace", "container"})},
)


def test_an_operators_word_counts_more_than_the_drivers_and_takes_no_image_along() -> None:
    moved = housed(present(wanted(host="h2", image="memory-image")), "container", OFFERS)
    assert [(one.provider, one.image) for one in moved.instances] == [("container", None)]
    same = housed(present(wanted(host="h2", provider="container", image="frr")), "container", OFFERS)
    assert [(one.provider, one.image) for one in same.instances] == [("container", "frr")]


@pytest.mark.parametrize(
    ("body", "host", "said"),
    [
        ("zeppelin", "h2", "body 'zeppelin' is not known: choose one of: container, memory"),
        ("microvm", "h2", "body 'microvm' is not enabled: add it to [services] providers"),
        ("container", "h1", "node h1 offers namespace, not body 'container' (h2 does): see body.unavailable"),
    ],
)
def test_a_body_that_cannot_be_had_is_waited_for_with_the_reason_and_what_to_do(body, host, said) -> None:
    waiting = housed(present(wanted(host=host, provider=body)), None, OFFERS)
    assert waiting.instances == ()
    assert said in waiting.unmet


def test_a_node_that_never_said_what_it_offers_is_not_judged() -> None:
    wish = present(wanted(host="h9", provider="container"))
    assert housed(wish, None, OFFERS) == wish


def test_bodies_that_nodes_do_not_make_are_not_looked_for_on_nodes() -> None:
    wish = present(wanted(host="h1"))
    assert housed(wish, None, OFFERS) == wish


def test_an_obstacle_is_said_with_its_remedy() -> None:
    offers = Offers(OFFERS.installed, OFFERS.enabled, obstacles={"container": "no issuing CA: set [identity] ca_dir"})
    assert "set [identity] ca_dir" in housed(present(wanted(provider="container")), None, offers).unmet


def test_what_does_not_exist_has_no_body() -> None:
    assert housed(Absent(5), "container", OFFERS) == Absent(5)
