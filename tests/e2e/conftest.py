"""What end-to-end tests stand on: the lab they run in, its Neutron, and machines on its networks.

They run inside a lab: `make e2e`, or `astara lab exec -- python -m pytest tests/e2e`.
"""

from __future__ import annotations

import contextlib
import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from astara.admin.client import OperatorClient
from astara.model.errors import AstaraError
from astara.model.resource import ResourceKey
from astara_lab.bodies import body_of
from astara_lab.hosts import Host, Hosts, OutsideHost
from astara_lab.places import ADMIN_SOCKET, EXTERNAL_PHYSNET, NEUTRON_URL, POD_MARKER, Lab, find_lab
from astara_lab.waiting import NotInTime, patient, until

with warnings.catch_warnings():
    # Some of the SDK's dependencies import what Python has deprecated.
    warnings.simplefilter("ignore")
    import openstack
    from openstack.exceptions import HttpException, SDKException

EXTERNAL_V4 = "198.51.100.0/24"
EXTERNAL_V6 = "2001:db8:ffff::/64"

#: What a test may leave behind, in the order in which it can be deleted.
_COLLECTIONS = ("ips", "routers", "ports", "networks", "security_groups", "qos_policies", "subnet_pools")
_ITEM = {"ips": "ip", "qos_policies": "qos_policy"}


#: Of one test, as for all others; longer where instances boot.
_TIMEOUT_S = 120.0
#: The SDK warns of its own future; ours are errors as everywhere.
_OTHERS_WARNINGS = (
    "ignore::openstack.warnings.OpenStackDeprecationWarning",
    "ignore::PendingDeprecationWarning",
    *(rf"ignore::Warning:{library}(\..*)?" for library in ("openstack", "keystoneauth1", "dogpile")),
)


def without_others_warnings(items: list[pytest.Item], conftest: str) -> list[pytest.Item]:
    """Return the tests below the folder of `conftest` (its `__file__`), marked so that they ignore those."""
    below = [item for item in items if item.path.is_relative_to(Path(conftest).parent)]
    for item in below:
        for ignored in _OTHERS_WARNINGS:
            item.add_marker(pytest.mark.filterwarnings(ignored))
    return below


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in without_others_warnings(items, __file__):
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(patient(_TIMEOUT_S)))


@dataclass(frozen=True)
class Cloud:
    """The lab's Neutron, seen by one test. Give `project` to what you create; `other_project` is a second tenant."""

    network: Any  # openstacksdk's network proxy, with admin rights
    external: Any  # the external network, with an IPv4 and an IPv6 subnet
    project: str
    other_project: str = field(default_factory=lambda: uuid.uuid4().hex)

    def routed(self, name: str, cidr: str, *, router: Any = None, project: str | None = None, **subnet: Any) -> Any:
        """A network with one subnet, plugged into `router` if given. Returns the network."""
        project = project or self.project
        net = self.network.create_network(name=name, project_id=project)
        version = 6 if ":" in cidr else 4
        made = self.network.create_subnet(
            network_id=net.id, project_id=project, ip_version=version, cidr=cidr, **subnet
        )
        if router is not None:
            self.network.add_interface_to_router(router, subnet=made.id)
        return net

    def router(self, name: str, *, gateway: bool = True, project: str | None = None, **body: Any) -> Any:
        """A router, on the external network unless `gateway` is false."""
        if gateway:
            body.setdefault("external_gateway_info", {"network_id": self.external.id})
        return self.network.create_router(name=name, project_id=project or self.project, **body)

    def floating_ip(self, host: Host | None = None, **body: Any) -> Any:
        """A floating IPv4 address, of `host` if given."""
        if host is not None:
            body.setdefault("port_id", host.port_id)
        return self.network.create_ip(floating_network_id=self.external.id, project_id=self.project, **body)

    def await_status(self, kind: str, resource: Any, status: str = "ACTIVE", deadline_s: float = 15.0) -> Any:
        """Waits until Neutron shows that status; `kind` is router, port or ip. Returns the resource as shown then."""
        get = getattr(self.network, f"get_{kind}")

        def look() -> Any:
            shown = get(resource.id)
            return shown if shown.status == status else None

        return until(f"{kind} {resource.id} {status}", look, deadline_s)


@pytest.fixture(scope="session")
def lab() -> Lab:
    if not POD_MARKER.exists():
        pytest.skip("end-to-end tests run inside a lab: make e2e")
    return find_lab(os.environ.get("ASTARA_LAB_PROFILE", "embedded"))


@pytest.fixture(scope="session")
def neutron(lab: Lab) -> Any:
    """openstacksdk's network proxy."""
    connection = openstack.connect(
        load_yaml_config=False, auth_type="none", endpoint=NEUTRON_URL, network_endpoint_override=NEUTRON_URL
    )
    yield connection.network
    connection.close()


@pytest.fixture(scope="session")
def external(neutron: Any) -> Any:
    """The external network; stays as long as the lab."""
    found = neutron.find_network("public")
    if found is None:
        found = neutron.create_network(
            name="public",
            is_router_external=True,
            provider_network_type="flat",
            provider_physical_network=EXTERNAL_PHYSNET,
        )
        gateways = ((4, EXTERNAL_V4, "198.51.100.1"), (6, EXTERNAL_V6, "2001:db8:ffff::1"))
        for version, cidr, gateway in gateways:
            neutron.create_subnet(
                network_id=found.id, ip_version=version, cidr=cidr, gateway_ip=gateway, is_dhcp_enabled=False
            )
    return neutron.get_network(found.id)


@contextlib.contextmanager
def tenancy(neutron: Any, external: Any) -> Iterator[Cloud]:
    """A tenant of one's own; what is made in Neutron meanwhile is deleted at the end."""
    before = {collection: _ids(neutron, collection) for collection in _COLLECTIONS}
    yield Cloud(neutron, external, uuid.uuid4().hex)
    for collection in _COLLECTIONS:
        for leftover in _ids(neutron, collection) - before[collection]:
            _delete(neutron, collection, leftover)


@pytest.fixture
def cloud(neutron: Any, external: Any) -> Iterator[Cloud]:
    """A tenant of one's own; what the test made in Neutron is deleted after it."""
    with tenancy(neutron, external) as found:
        yield found


@pytest.fixture(scope="session")
def body(lab: Lab) -> str:
    """What instances run in: namespace, container or microvm."""
    return body_of(lab)


@pytest.fixture
def hosts(lab: Lab, cloud: Cloud, body: str) -> Iterator[Callable[..., Host]]:
    """`hosts("name", network, **as Hosts.add)` makes a machine; all go after the test."""
    room = Hosts(lab)
    made: list[str] = []

    def add(name: str, network: Any, **rest: Any) -> Host:
        made.append(name)
        rest.setdefault("project", cloud.project)
        host = room.add(name, getattr(network, "id", network), **rest)
        if body != "namespace":
            await_built()
        return host

    yield add
    for name in made:
        room.delete(name)


def await_built() -> None:
    """Bodies that boot may come after the machines that use them; a namespace is there before anybody asks."""

    operator = OperatorClient(ADMIN_SOCKET)

    def built() -> bool:
        """Asked now: while a body boots its resource's line shows what it was before."""
        keys = [ResourceKey.parse(line.key) for line in operator.resources()]
        with contextlib.suppress(AstaraError):  # one has just gone, or cannot be asked yet
            return not any(operator.resource(key).plan for key in keys)
        return False

    # One that never gets there is for the test to notice.
    with contextlib.suppress(NotInTime, AstaraError):
        until("everything built", built, 10.0)


@pytest.fixture
def outside(lab: Lab, external: Any) -> Iterator[OutsideHost]:
    """A machine outside the cloud, owning the gateway addresses of the external subnets."""
    machine = OutsideHost.open(lab, external.id)
    yield machine
    machine.close(lab)


def _ids(neutron: Any, collection: str) -> set[str]:
    found = getattr(neutron, collection)()
    if collection == "ports":  # those of routers and of our own DHCP go with what they belong to
        return {port.id for port in found if not port.device_owner.startswith("network:")}
    return {item.id for item in found}


def _delete(neutron: Any, collection: str, identifier: str) -> None:
    """Deletes one leftover; what went with something else, or cannot go yet, is left to the next collection."""
    if collection == "routers":
        _empty_router(neutron, identifier)
    name = _ITEM.get(collection, collection.removesuffix("s"))
    with contextlib.suppress(HttpException, SDKException):
        getattr(neutron, f"delete_{name}")(identifier, ignore_missing=True)


def _empty_router(neutron: Any, router_id: str) -> None:
    with contextlib.suppress(HttpException, SDKException):
        neutron.update_router(router_id, routes=[])
    for port in neutron.ports(device_id=router_id, device_owner="network:router_interface"):
        with contextlib.suppress(HttpException, SDKException):
            neutron.remove_interface_from_router(router_id, port_id=port.id)
