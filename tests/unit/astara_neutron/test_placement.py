"""Ports that wait for their binding: those that cannot be bound keep no others waiting."""

from __future__ import annotations

import pytest

from astara_neutron import placement

HOPELESS = [f"a{number:03d}" for number in range(150)]
GOOD = [f"b{number:03d}" for number in range(100)]


def test_ports_that_fail_for_ever_neither_starve_the_others_nor_count_as_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = {*HOPELESS, *GOOD}
    tried: list[str] = []

    def bind(_context: object, port_id: str, _host: str) -> None:
        tried.append(port_id)
        if port_id in GOOD:
            waiting.discard(port_id)

    monkeypatch.setattr(placement, "unbound", lambda *_: sorted(waiting))
    monkeypatch.setattr(placement, "bind", bind)
    monkeypatch.setattr(placement, "place", lambda *_: "node-a")
    monkeypatch.setattr(placement, "_router_of", lambda *_: "r1", raising=False)
    bound = 0
    for _ in range(100):
        before = len(tried)
        now, left = placement.bind_what_waits(None)
        assert len(tried) - before <= placement.REBIND_AT_ONCE
        assert left == len(waiting)
        bound += now
    assert waiting == set(HOPELESS)
    assert bound == len(GOOD)
