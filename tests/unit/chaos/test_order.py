from __future__ import annotations

import itertools

from chaos.order import EVERYTHING, MATRIX, NODE, ORCHESTRATOR, SERVICES, draw

MEMBERS, NODES = ("orchestrator", "orchestrator-2"), ("node", "node-2")


def first(seed: str, count: int = len(MATRIX)) -> list[str]:
    return [planned.name for planned in itertools.islice(draw(seed, MEMBERS, NODES), count)]


def test_a_seed_is_an_order_and_another_seed_another():
    assert first("a") == first("a")
    assert first("a") != first("b")


def test_every_kind_comes_once_in_each_round():
    kinds = sorted((planned.kind, planned.hold_s) for planned in MATRIX)
    drawn = itertools.islice(draw("a", MEMBERS, NODES), 2 * len(MATRIX))
    for _ in range(2):
        assert sorted((p.kind, p.hold_s) for p in itertools.islice(drawn, len(MATRIX))) == kinds


def test_every_service_is_killed_frozen_and_started_again():
    for kind in ("kill", "freeze", "restart"):
        assert {p.target for p in MATRIX if p.kind == kind} >= set(SERVICES)


def test_what_fails_is_one_of_those_there_are():
    found = list(itertools.islice(draw("c", ("left", "right"), ("here", "there")), 12 * len(MATRIX)))
    said = {planned.target for planned in found} | {planned.other for planned in found}
    assert said.isdisjoint({ORCHESTRATOR, NODE})
    assert {"left", "right", "here", "there"} <= said
    assert {"kill right", "kill there", "cut left | here", f"cut right | {EVERYTHING}"} <= {p.name for p in found}
