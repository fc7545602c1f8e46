"""A router whose halves are machines on two nodes: what is established outlives the active one's QEMU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.machines import needs_image
from support.node_agent import isolated
from support.outliving import killed_and_replaced, one_stands_back
from support.two_agents import TwoAgents, two_agents

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make machines`"),
    needs_image,
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoAgents]:
    with two_agents(tmp_path_factory.mktemp("pair"), "microvm") as made:
        made.ready()
        yield made


def test_connections_outlive_the_active_machine(world: TwoAgents, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # once in each direction
        killed_and_replaced(world, capsys)


def test_of_two_machines_that_do_not_hear_each_other_one_forwards(world: TwoAgents) -> None:
    one_stands_back(world)


def test_link_up_and_path_dead_is_a_reason_to_hand_over(world: TwoAgents) -> None:
    """The card of a machine hands on what is for another address than its own only when it is told to."""
    active, standby = world.settled()
    active.cut_off("out")
    assert world.eventually(lambda: (active.role(), standby.role()) == ("standby", "active"))
    assert world.eventually(world.reaches)
    active.cut_off("out", back=True)
    world.settled()
