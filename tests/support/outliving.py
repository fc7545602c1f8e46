"""The promise of a pair, whatever its halves run in: the active one is killed, and nobody's session knows of it."""

from __future__ import annotations

import os
import time

import pytest

from astara.contract.agent import Role
from astara_lab.conversation import conversation
from support.pair import WORLD
from support.two_agents import TwoAgents


def killed_and_replaced(world: TwoAgents, capsys: pytest.CaptureFixture[str]) -> None:
    """Kill the active half under traffic; it comes back, and stands by. What was measured is printed, not judged."""
    active, standby = world.settled()
    assert world.eventually(world.reaches)
    with conversation(world.web.netns, world.world.netns, WORLD) as said:
        assert world.eventually(lambda: said.tcp_answers > 200 and len(said.answered) > 200)
        began = time.monotonic()
        active.kill()
        assert world.eventually(lambda: standby.role() == "active"), standby.told()
        enough = said.tcp_answers + 200
        assert world.eventually(lambda: said.tcp_answers > enough or said.tcp_broken), said.tcp_answers
    with capsys.disabled():
        print(
            f"\n{world.body}: {said.gap_since(began - 0.002) * 1000:.0f} ms without an answer, "
            f"{said.lost} of {len(said.sent)} datagrams lost, slowest answer over TCP "
            f"{said.tcp_longest_s * 1000:.0f} ms; load {os.getloadavg()[0]:.1f}"
        )
    assert said.tcp_broken is None, standby.told()
    assert len(said.seen_as) == 1
    assert world.settled() == (standby, active)


def one_stands_back(world: TwoAgents) -> None:
    """The halves stop hearing each other and see each other on tenants' networks: one serves, until they hear again."""
    active, _ = world.settled()
    active.cut_off("heart")
    told = {Role.ACTIVE, Role.YIELDING}
    assert world.eventually(lambda: {half.role() for half in world.halves} == told), world.halves[0].told()
    assert world.eventually(world.reaches)
    active.cut_off("heart", back=True)
    world.settled()
    assert world.eventually(world.reaches)
