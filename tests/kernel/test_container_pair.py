"""A router whose halves are containers on two nodes: what is established outlives the active one."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.containers import needs_podman
from support.node_agent import isolated
from support.outliving import killed_and_replaced, one_stands_back
from support.two_agents import two_agents

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make bodies`"),
    needs_podman,
]


def test_connections_outlive_the_active_container(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with two_agents(tmp_path, "container") as world:
        world.ready()
        for _ in range(2):  # once in each direction
            killed_and_replaced(world, capsys)
        one_stands_back(world)
