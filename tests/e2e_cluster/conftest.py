"""What these tests stand on: a lab of three orchestrators and two nodes, `make cluster`."""

from __future__ import annotations

from pathlib import Path

import pytest

from astara_lab.control import Control
from astara_lab.places import POD_MARKER, find_lab
from astara_lab.pod import Pod
from e2e.conftest import OTHERS_WARNINGS, body, cloud, external, hosts, lab, neutron, outside
from e2e_cluster.members import Members

__all__ = ["body", "cloud", "external", "hosts", "lab", "neutron", "outside"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for ignored in OTHERS_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(ignored))


@pytest.fixture(scope="session")
def members() -> Members:
    if not POD_MARKER.exists():
        pytest.skip("runs inside a lab of three orchestrators: make cluster")
    found = find_lab("embedded")
    return Members(found, Control(Pod(found)))
