"""What `astara doctor` says of things only the answers of others show."""

from __future__ import annotations

import time

import pytest

from astara.model.operator import CheckLine, InstanceLine, NodeLine
from astara.runtime import doctor
from astara.runtime.pairs import of_pairs

_DAY_S = 86400.0


def node_checks(**said: float) -> dict[str, CheckLine]:
    line = NodeLine(name="n1", url="https://n1", reachable=True, agent_version="1", instances=0, **said)  # type: ignore[arg-type]  # numbers only
    return {check.check: check for check in doctor.of_node(line)}


@pytest.mark.parametrize("ahead_s", [0.0, 4.9, -4.9])
def test_a_clock_that_is_nearly_ours_is_well(ahead_s: float) -> None:
    assert node_checks(clock_ahead_s=ahead_s)["clock n1"].ok


@pytest.mark.parametrize(("ahead_s", "words"), [(61.0, "61 s ahead of"), (-61.0, "61 s behind")])
def test_a_clock_that_differs_is_told_with_its_direction_and_remedy(ahead_s: float, words: str) -> None:
    check = node_checks(clock_ahead_s=ahead_s)["clock n1"]
    assert not check.ok
    assert words in check.detail
    assert "time servers" in check.remedy


@pytest.mark.parametrize(("days", "ok"), [(31, True), (29, False), (-1, False)])
def test_a_nodes_certificate_is_told_thirty_days_before_it_expires(days: float, ok: bool) -> None:
    check = node_checks(certificate_expires_at=time.time() + days * _DAY_S)["certificate n1"]
    assert check.ok is ok
    assert ("astara ca issue node n1" in check.remedy) is not ok


def test_a_dispute_about_nodes_is_told_with_their_names_and_remedy() -> None:
    (check,) = doctor.of_dispute(("n7", "n9"))
    assert not check.ok
    assert "n7, n9" in check.detail
    assert "[nodes]" in check.remedy
    assert list(doctor.of_dispute(())) == []


def test_what_an_answer_did_not_say_is_not_judged() -> None:
    assert set(node_checks()) == {"node n1"}


@pytest.mark.parametrize(
    ("plugin", "ok", "words"),
    [("1.2.0", True, "1.2.0"), ("1.1.0", False, "is 1.1.0; the orchestrator is 1.2.0"), (None, False, "older")],
)
def test_a_plugin_of_another_version_is_named(plugin: str | None, ok: bool, words: str) -> None:
    check = doctor.of_versions(plugin, "1.2.0")
    assert check.ok is ok
    assert words in check.detail
    assert ("restart both" in check.remedy) is not ok


def test_a_host_without_a_node_agent_is_well_and_says_what_serves_it() -> None:
    (check,) = doctor.of_node(NodeLine(name="compute-1", url="", reachable=True, bodies={"nova": ()}))
    assert check.ok
    assert check.detail == "without a node agent; serves nova"


def half(resource: str, host: str, role: str | None) -> InstanceLine:
    return InstanceLine(
        id=host,
        resource=resource,
        slot="0",
        provider="namespace",
        host=host,
        health="healthy",
        digest=None,
        generation=None,
        ports=1,
        created_at=0.0,
        role=role,
    )


def test_a_pair_that_is_active_twice_is_told_with_its_nodes() -> None:
    well = [half("router/b", "n1", "active"), half("router/b", "n2", "standby"), half("router/c", "n1", None)]
    split = [half("router/a", "n1", "active"), half("router/a", "n2", "active")]

    (found,) = of_pairs([*split, *well])

    assert not found.ok
    assert "router/a" in found.check
    assert "n1 and n2" in found.detail
    back = [half("router/d", "n1", "yielding"), half("router/d", "n2", "active")]
    (found,) = of_pairs([*back, *well])
    assert not found.ok
    assert "the half on n1 stands back" in found.detail
    assert [check.ok for check in of_pairs(well)] == [True]
    assert list(of_pairs(well[2:])) == []
