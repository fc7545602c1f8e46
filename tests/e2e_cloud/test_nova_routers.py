"""Routers that are servers of Nova's: from `openstack router create` to a floating IP that answers, and to nothing.

One router serves most of these tests, for a machine without KVM takes its time to boot; they run in their order here.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from click.testing import CliRunner

from astara.admin.cli import cli
from astara.contract.codec import convert
from astara.model.operator import ResourceDetail
from astara_lab.hosts import Host, Hosts, OutsideHost
from astara_lab.listeners import http_server
from astara_lab.places import ADMIN_SOCKET, Lab
from astara_lab.profiles.cloud import NOVA_FLAVOR
from astara_lab.waiting import NotInTime, until
from e2e.conftest import Cloud, tenancy
from e2e_cloud.conftest import BOOT_S

pytestmark = pytest.mark.e2e

AGENT_PORT = 19801
#: The orchestrator looks at everything at least that often, then a machine boots.
REPLACED_S = 60.0 + BOOT_S


def ask(*words: str) -> Any:
    return CliRunner().invoke(cli, ["--socket", str(ADMIN_SOCKET), *words], prog_name="astara")


def openstack(*words: str) -> Any:
    """What a tenant types."""
    done = subprocess.run(["openstack", *words, "-f", "json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def resource(router_id: str) -> ResourceDetail | None:
    answer = ask("resource", "show", f"router/{router_id}", "--json")
    return convert(json.loads(answer.output), ResourceDetail) if answer.exit_code == 0 else None


@dataclass
class Ours:
    """Everything of Astara's in the cloud, whoever's project it is in."""

    connection: Any

    def servers(self, router_id: str | None = None) -> list[Any]:
        found = [one for one in self.connection.compute.servers(all_projects=True) if "astara:key" in one.metadata]
        return [one for one in found if router_id is None or one.metadata["astara:key"] == f"router/{router_id}"]

    def trace(self) -> dict[str, set[str]]:
        network = self.connection.network
        groups = self.connection.compute.get("/os-server-groups?all_projects=True", microversion="2.64").json()[
            "server_groups"
        ]
        return {
            "servers": {one.id for one in self.servers()},
            "ports": {one.id for one in network.ports() if one.description.startswith("astara:")},
            "groups": {one["id"] for one in groups if one["name"].startswith("astara:")},
        }

    def management_address(self, router_id: str) -> str:
        network = self.connection.network
        (server,) = self.servers(router_id)
        home = network.find_network("management").id
        (port,) = network.ports(device_id=server.id, network_id=home)
        return str(port.fixed_ips[0]["ip_address"])


@dataclass
class Scene:
    """A router that is a server of Nova's, a network behind it with a tenant's machine, and one to look from inside."""

    cloud: Cloud
    ours: Ours
    router: Any
    net: Any
    web: Any
    floating: str
    probe: Host
    seconds: dict[str, float] = field(default_factory=dict)


@pytest.fixture(scope="module")
def ours(connection: Any) -> Ours:
    if connection.network.find_flavor(NOVA_FLAVOR) is None:
        pytest.fail("this lab was started without the appliance's image: make test-cloud")
    return Ours(connection)


@pytest.fixture(scope="module")
def before(ours: Ours) -> dict[str, set[str]]:
    return ours.trace()


@pytest.fixture(scope="module")
def outer(lab: Lab, external: Any) -> Iterator[OutsideHost]:
    machine = OutsideHost.open(lab, external.id)
    yield machine
    machine.close(lab)


@pytest.fixture(scope="module")
def scene(lab: Lab, connection: Any, external: Any, ours: Ours, before: Any, outer: OutsideHost) -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        tenant = stack.enter_context(tenancy(connection.network, external))
        tenant = Cloud(tenant.network, tenant.external, connection.current_project_id)
        began = time.monotonic()
        made = openstack(
            "router", "create", "--flavor", connection.network.find_flavor(NOVA_FLAVOR).id,
            "--external-gateway", "public", "edge",
        )  # fmt: skip
        router = connection.network.get_router(made["id"])
        net = tenant.routed("blue", "10.9.1.0/24", router=router)
        asked = time.monotonic()
        until("a server of Nova's", lambda: ours.servers(router.id), BOOT_S, 0.2)
        until("ACTIVE", lambda: ours.servers(router.id)[0].status == "ACTIVE", BOOT_S, 0.2)
        active = time.monotonic()
        gateway = str(router.external_gateway_info["external_fixed_ips"][0]["ip_address"])
        until("the router answers outside", lambda: outer.ping(gateway, 1.0), BOOT_S, 0.1)
        answers = time.monotonic()
        seconds = {"api": asked - began, "active": active - asked, "answers": answers - asked}
        web = stack.enter_context(_tenants_machine(connection, tenant, net))
        floating = tenant.network.create_ip(
            floating_network_id=external.id, project_id=tenant.project, port_id=web.port_id
        ).floating_ip_address
        room = Hosts(lab)
        probe = room.add("probe", net.id, project=tenant.project)
        stack.callback(room.delete, "probe")
        yield Scene(tenant, ours, router, net, web.server, floating, probe, seconds)


@dataclass
class Booted:
    server: Any
    port_id: str


@contextlib.contextmanager
def _tenants_machine(connection: Any, tenant: Cloud, net: Any) -> Iterator[Booted]:
    port = tenant.network.create_port(network_id=net.id, project_id=tenant.project)
    server = connection.compute.create_server(
        name="web",
        image_id=connection.image.find_image("guest").id,
        flavor_id=connection.compute.find_flavor("small").id,
        networks=[{"port": port.id}],
    )
    yield Booted(server, port.id)
    connection.compute.delete_server(server.id, ignore_missing=True)
    connection.compute.wait_for_delete(server, interval=0.5, wait=BOOT_S)


def answers(outer: OutsideHost, scene: Scene, deadline_s: float = BOOT_S) -> str:
    """Wait until the tenant's machine answers on its floating IP; return what it was told by the metadata service."""

    def look() -> str | None:
        try:
            answer = outer.fetch(f"http://{scene.floating}/meta_data.json", timeout_s=3.0)
        except OSError:
            return None
        return answer.text if answer.status == 200 else None

    return until("the floating IP answers", look, deadline_s, 0.2)


def test_a_floating_ip_answers_from_a_tenants_machine_that_was_told_who_it_is(
    scene: Scene, outer: OutsideHost, record_property: Callable[[str, object], None]
) -> None:
    """DHCP gave it its address; its metadata came from the network's own instance, on a node, never from the server."""
    metadata = answers(outer, scene)

    assert f'"uuid": "{scene.web.id}"' in metadata
    for name, seconds in scene.seconds.items():
        record_property(f"cold_{name}_s", round(seconds, 1))


def test_what_leaves_is_translated_to_the_routers_address_outside(scene: Scene, outer: OutsideHost) -> None:
    gateway = str(scene.router.external_gateway_info["external_fixed_ips"][0]["ip_address"])
    with http_server(outer, 80):
        assert scene.probe.fetch("http://198.51.100.1/").text == gateway


def test_neutron_shows_it_active_and_an_operator_sees_where_it_runs(scene: Scene) -> None:
    scene.cloud.await_status("router", scene.router, "ACTIVE", BOOT_S)
    detail = resource(scene.router.id)
    assert detail is not None
    (instance,) = detail.instances
    assert instance.provider == "nova"
    assert instance.image_digest is not None


def test_the_doctor_looks_at_the_cloud_and_finds_it_well(scene: Scene) -> None:
    examined = ask("doctor")
    assert examined.exit_code == 0, examined.output
    for what in ("nova image", "nova flavor", "nova management network", "nova quota instances"):
        assert what in examined.output


def test_the_agent_inside_listens_to_its_management_address_and_to_nobody_without_a_certificate(scene: Scene) -> None:
    """From its tenants' side there is nothing to connect to; from the management side nothing without a certificate."""
    with pytest.raises(OSError, match=r"refused|timed out|unreachable"):
        scene.probe.ask_tcp("10.9.1.1", AGENT_PORT, b"GET /v1/node HTTP/1.0\r\n\r\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = scene.ours.management_address(scene.router.id)
    with socket.create_connection((address, AGENT_PORT), timeout=10.0) as connection:
        assert _answer(context, connection) == b""


def _answer(context: ssl.SSLContext, connection: socket.socket) -> bytes:
    """What an agent says to somebody without a certificate; with TLS 1.3 he learns of it when he reads."""
    try:
        with context.wrap_socket(connection) as tls:
            tls.sendall(b"GET /v1/node HTTP/1.1\r\nHost: agent\r\n\r\n")
            return tls.recv(1)
    except (ssl.SSLError, ConnectionError):
        return b""


@pytest.mark.parametrize("blow", ["deleted", "stopped"])
def test_a_server_that_somebody_deletes_or_stops_is_replaced(
    scene: Scene, outer: OutsideHost, connection: Any, blow: str, record_property: Callable[[str, object], None]
) -> None:
    """The tenant's machine is somebody else's server: it is the same one afterwards, and ran on."""
    answers(outer, scene)
    (old,) = scene.ours.servers(scene.router.id)
    began = time.monotonic()
    if blow == "deleted":
        connection.compute.delete_server(old.id)
    else:
        connection.compute.stop_server(old.id)

    def another() -> Any:
        found = [one for one in scene.ours.servers(scene.router.id) if one.id != old.id]
        return found[0] if found and found[0].status == "ACTIVE" else None

    until("another server", another, REPLACED_S, 0.5)
    answers(outer, scene, REPLACED_S)
    record_property(f"replaced_after_{blow}_s", round(time.monotonic() - began, 1))
    until("the old one is gone", lambda: len(scene.ours.servers(scene.router.id)) == 1, BOOT_S, 0.5)
    assert connection.compute.get_server(scene.web.id).status == "ACTIVE"


def test_a_second_network_is_plugged_into_the_running_server(scene: Scene, lab: Lab) -> None:
    (server,) = scene.ours.servers(scene.router.id)
    green = scene.cloud.routed("green", "10.9.2.0/24", router=scene.router)
    room = Hosts(lab)
    other = room.add("other", green.id, project=scene.cloud.project)
    try:
        assert other.ping(scene.probe.address(4), BOOT_S) is not None
    finally:
        room.delete("other")
    assert [one.id for one in scene.ours.servers(scene.router.id)] == [server.id]
    subnet = next(iter(scene.cloud.network.subnets(network_id=green.id)))
    scene.cloud.network.remove_interface_from_router(scene.router, subnet_id=subnet.id)


def test_a_used_up_quota_is_the_reason_on_the_resource_and_not_a_fault(
    scene: Scene, connection: Any, ours: Ours
) -> None:
    project = ours.servers(scene.router.id)[0].project_id
    connection.compute.update_quota_set(project, instances=1)
    try:
        router = scene.cloud.router("crowded", flavor_id=scene.router.flavor_id)
        scene.cloud.routed("red", "10.9.3.0/24", router=router)

        def reason() -> str | None:
            detail = resource(router.id)
            return detail.resource.because if detail and "uota" in (detail.resource.because or "") else None

        assert "uota" in until("the reason", reason, BOOT_S, 0.5)
        assert ours.servers(router.id) == []
    finally:
        connection.compute.revert_quota_set(project)
    ask("resync", f"router/{router.id}")
    until("its server", lambda: ours.servers(router.id), BOOT_S, 0.5)


def test_nothing_is_left_of_routers_that_are_deleted(
    scene: Scene, connection: Any, before: dict[str, set[str]]
) -> None:
    network = scene.cloud.network
    for address in network.ips(project_id=scene.cloud.project):
        network.delete_ip(address)
    for router in list(network.routers(project_id=scene.cloud.project)):
        for port in network.ports(device_id=router.id, device_owner="network:router_interface"):
            network.remove_interface_from_router(router, port_id=port.id)
        network.delete_router(router)

    left: dict[str, set[str]] = {}

    def nothing() -> bool:
        left.update({kind: found - before[kind] for kind, found in scene.ours.trace().items()})
        return not any(left.values())

    with contextlib.suppress(NotInTime):
        until("nothing of ours is left", nothing, BOOT_S, 0.5)
    assert not any(left.values()), left
    assert connection.compute.get_server(scene.web.id).status == "ACTIVE"
