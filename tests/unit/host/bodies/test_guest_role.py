"""Who is active in a machine is asked of its agent, for a moment; who does not answer is not counted as dead for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from astara.appliance.boundaries import Place
from astara.contract.agent import Health, InstanceList, InstanceView, Role, StateView
from astara.contract.codec import encode
from astara.host.bodies import guest
from astara.host.bodies.guest import GuestEngine, Link
from support.node_agent import spec

PLACE = Place("i1", Path("/run/netns/none"), Path("/none"))


def link(answer: Callable[[httpx.Request], httpx.Response]) -> Link:
    made: Link = object.__new__(Link)
    made._inside = None
    made._http = httpx.Client(base_url="https://inside", transport=httpx.MockTransport(answer))
    return made


def engine(monkeypatch: pytest.MonkeyPatch, found: Role | None, inside: Any) -> GuestEngine:
    monkeypatch.setattr(guest.gate, "role_in", lambda _: found)
    made = GuestEngine(None, str, lambda _: (), takes_credentials=True)  # type: ignore[arg-type]
    made._guest("i1").link = inside
    return made


def test_a_machine_is_asked_if_there_is_time_and_a_container_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def role(within_s: float) -> Role:
        asked.append(within_s)
        return Role.STANDBY

    inside = SimpleNamespace(role=role)
    assert engine(monkeypatch, Role.ACTIVE, inside).role(PLACE, 1.0) is Role.ACTIVE
    assert engine(monkeypatch, None, inside).role(PLACE, 0.0) is None
    assert asked == []
    assert engine(monkeypatch, None, inside).role(PLACE, 1.0) is Role.STANDBY
    assert asked == [1.0]


def test_what_the_agent_inside_says_counts_and_its_silence_says_nothing() -> None:
    one = spec()
    state = StateView(health=Health.HEALTHY, role=Role.STANDBY)
    view = InstanceView(id=one.id, key=one.key, slot=one.slot, ports=(), state=state, created_at=0.0)
    said = encode(InstanceList(instances=(view,), cursor=0))
    assert link(lambda _: httpx.Response(200, content=said)).role(1.0) is Role.STANDBY
    assert link(lambda _: httpx.Response(200, content=b"{}")).role(1.0) is None

    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("", request=request)

    unasked = link(silent)
    assert unasked.role(1.0) is None
