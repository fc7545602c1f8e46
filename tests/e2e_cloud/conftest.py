"""A whole OpenStack to test on: Keystone, Glance, Placement, Nova with real machines, and Neutron with Astara.

The tests run inside a lab: `make test-cloud`. What is missing is a failure, never a reason to skip.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from astara_lab.places import CLOUD_NAME, Lab
from astara_lab.waiting import until
from e2e.conftest import Cloud, external, lab, outside, tenancy, without_others_warnings

with warnings.catch_warnings():
    # Some of the SDK's dependencies import what Python has deprecated.
    warnings.simplefilter("ignore")
    import openstack

__all__ = ["external", "lab", "outside"]

#: An emulated machine boots in some ten seconds; on a machine that is busy with other things in minutes.
BOOT_S = 300.0
_TIMEOUT_S = 1500


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in without_others_warnings(items, __file__):
        item.add_marker(pytest.mark.timeout(_TIMEOUT_S))


@pytest.fixture(scope="session")
def connection(lab: Lab) -> Iterator[Any]:
    """openstacksdk, as the administrator."""
    if lab.profile != "cloud":
        pytest.fail("these tests need a lab of profile cloud: make test-cloud")
    made = openstack.connect(cloud=CLOUD_NAME)
    yield made
    made.close()


@pytest.fixture(scope="session")
def neutron(connection: Any) -> Any:
    return connection.network


@pytest.fixture
def cloud(connection: Any, neutron: Any, external: Any) -> Iterator[Cloud]:
    """The administrator's own project, for Nova serves a machine the metadata of its own project only."""
    with tenancy(neutron, external) as found:
        yield dataclasses.replace(found, project=connection.current_project_id)


@pytest.fixture
def boot(connection: Any) -> Iterator[Callable[..., Any]]:
    """`boot("name", port)` starts a guest on a port and returns its server, ACTIVE; all go after the test."""
    made: list[Any] = []

    def start(name: str, port: Any) -> Any:
        server = connection.compute.create_server(
            name=name,
            image_id=connection.image.find_image("guest").id,
            flavor_id=connection.compute.find_flavor("small").id,
            networks=[{"port": port.id}],
        )
        made.append(server)
        return until(f"server {name} ACTIVE", lambda: _active(connection, server), BOOT_S, 0.5)

    yield start
    for server in made:
        connection.compute.delete_server(server.id, ignore_missing=True)
    for server in made:
        connection.compute.wait_for_delete(server, interval=0.5, wait=BOOT_S)


def _active(connection: Any, server: Any) -> Any:
    shown = connection.compute.get_server(server.id)
    assert shown.status != "ERROR", shown.fault
    return shown if shown.status == "ACTIVE" else None
