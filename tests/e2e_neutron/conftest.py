"""A production-like cloud to test on: RabbitMQ, MariaDB, two Neutron API processes, Open vSwitch or OVN.

The tests run inside a lab: `make e2e-neutron MECH=ovs`, `make e2e-neutron MECH=ovn`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from astara_lab.control import Control
from astara_lab.hosts import Host, Hosts
from astara_lab.places import Lab
from astara_lab.pod import Pod
from e2e.conftest import (
    Cloud,
    body,
    cloud,
    external,
    hosts,
    lab,
    neutron,
    outside,
    tenancy,
    without_others_warnings,
)
from e2e_neutron.sight import Services

__all__ = ["body", "cloud", "external", "hosts", "lab", "neutron", "outside"]

FLAVOR = "astara"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    without_others_warnings(items, __file__)


@pytest.fixture(scope="session")
def services(lab: Lab) -> Services:
    if lab.profile != "neutron":
        pytest.skip("these tests need a lab of profile neutron: make e2e-neutron")
    return Services(Control(Pod(lab)))


@pytest.fixture(scope="session")
def mech(services: Services) -> str:
    """What layer 2 is: "ovs" or "ovn"."""
    return "ovn" if services.control.state("ovn-controller") else "ovs"


@pytest.fixture(scope="session")
def ovs_only(mech: str) -> None:
    if mech != "ovs":
        pytest.skip("shown with MECH=ovs")


@pytest.fixture(scope="session")
def ovn_only(mech: str) -> None:
    if mech != "ovn":
        pytest.skip("shown with MECH=ovn")


@pytest.fixture(scope="session")
def ours(mech: str, neutron: Any) -> dict[str, str]:
    """What makes a router Astara's, for `cloud.router`: on OVN a flavor, with Open vSwitch every router is."""
    return {} if mech == "ovs" else {"flavor_id": next(iter(neutron.flavors(name=FLAVOR))).id}


@dataclass(frozen=True)
class Site:
    """One router of ours with a gateway, a dual-stack network and an IPv4 one, and a machine on each."""

    cloud: Cloud
    router: Any
    blue: Any
    green: Any
    web: Host
    db: Host
    group: Any  # a security group that lets everything in: OVN enforces them


@pytest.fixture(scope="module")
def site(lab: Lab, neutron: Any, external: Any, ours: dict[str, str]) -> Iterator[Site]:
    """Made once for the tests of a module: each call to a Neutron of many processes has its price."""
    room = Hosts(lab)
    with tenancy(neutron, external) as cloud:
        group = open_group(cloud)
        router = cloud.router("site", **ours)
        blue = cloud.routed("blue", "10.9.1.0/24", router=router)
        second = neutron.create_subnet(
            network_id=blue.id,
            project_id=cloud.project,
            ip_version=6,
            cidr="2001:db8:91::/64",
            ipv6_ra_mode="slaac",
            ipv6_address_mode="slaac",
        )
        neutron.add_interface_to_router(router, subnet=second.id)
        green = cloud.routed("green", "10.9.2.0/24", router=router)
        rest = {"project": cloud.project, "security_groups": [group.id], "deadline_s": 40.0}
        try:
            web, db = room.add("web", blue.id, **rest), room.add("db", green.id, **rest)
            yield Site(cloud, router, blue, green, web, db, group)
        finally:
            for name in ("web", "db"):
                room.delete(name)


def open_group(cloud: Cloud) -> Any:
    """A security group of the tenant that lets everything in."""
    group = cloud.network.create_security_group(name="open", project_id=cloud.project)
    for ethertype in ("IPv4", "IPv6"):
        cloud.network.create_security_group_rule(
            security_group_id=group.id, project_id=cloud.project, direction="ingress", ethertype=ethertype
        )
    return group
