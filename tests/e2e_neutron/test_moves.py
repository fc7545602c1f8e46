"""A live router is moved between bodies where Neutron's agent, or OVN, wires its ports: what crosses it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from astara_lab.hosts import OutsideHost
from e2e.test_moves import log, moved_through, others

__all__ = ["log", "others"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_a_live_router_moves_between_bodies_and_keeps_its_connections(
    site: Any, outside: OutsideHost, others: Sequence[str], log: Any
) -> None:
    moved_through(others, site.router.id, site.web, outside, log)
