"""What these tests stand on: a lab of three orchestrators and two nodes, `make cluster`."""

from __future__ import annotations

import pytest

from astara_lab.control import Control
from astara_lab.places import POD_MARKER, find_lab
from astara_lab.pod import Pod
from e2e.conftest import body, cloud, external, hosts, lab, neutron, outside, without_others_warnings
from e2e_cluster.members import Members

__all__ = ["body", "cloud", "external", "hosts", "lab", "neutron", "outside"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    without_others_warnings(items, __file__)


@pytest.fixture(scope="session")
def members() -> Members:
    if not POD_MARKER.exists():
        pytest.skip("runs inside a lab of three orchestrators: make cluster")
    found = find_lab("embedded")
    return Members(found, Control(Pod(found)))
