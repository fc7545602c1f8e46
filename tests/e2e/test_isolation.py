"""Who cannot reach whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from astara_lab.hosts import Host, OutsideHost
from astara_lab.listeners import http_server, tcp_echo
from astara_lab.places import ADMIN_SOCKET, INTAKE_PORT, METRICS_PORT, NEUTRON_PORT, NODE_PORT
from astara_lab.waiting import until

pytestmark = pytest.mark.e2e

Make = Callable[..., Host]


def reaches(client: Any, address: Any, port: int) -> bool:
    try:
        return bool(client.ask_tcp(address, port, b"x", timeout_s=1.0))
    except OSError:
        return False


def connects(client: Any, address: str, port: int) -> bool:
    """Whether anything accepts a connection there, TLS or not."""
    with client.socket(6 if ":" in address else 4) as raw:
        raw.settimeout(1.0)
        try:
            raw.connect((address, port))
        except OSError:
            return False
        return True


def test_two_tenants_with_one_address_range_each_reach_only_their_own(
    cloud: Any, hosts: Make, outside: OutsideHost
) -> None:
    machines = {}
    for project in (cloud.project, cloud.other_project):
        router = cloud.router(f"r-{project[:4]}", project=project)
        net = cloud.routed(f"n-{project[:4]}", "10.6.0.0/24", router=router, project=project)
        other = cloud.routed(f"m-{project[:4]}", "10.6.1.0/24", router=router, project=project)
        subnet = next(iter(cloud.network.subnets(network_id=other.id)))
        where = [{"subnet_id": subnet.id, "ip_address": f"10.6.1.{10 if project == cloud.project else 20}"}]
        machines[project] = (
            hosts(f"a-{project[:4]}", net, project=project),
            hosts(f"b-{project[:4]}", other, project=project, fixed_ips=where),
        )
    ours, our_server = machines[cloud.project]
    theirs, their_server = machines[cloud.other_project]

    with tcp_echo(our_server, 7), tcp_echo(their_server, 7), http_server(outside, 80):
        assert reaches(ours, our_server.address(4), 7)
        assert reaches(theirs, their_server.address(4), 7)
        assert not reaches(ours, their_server.address(4), 7)
        assert not reaches(theirs, our_server.address(4), 7)
        seen = {machine.fetch("http://198.51.100.1/").text for machine in (ours, theirs)}
        assert len(seen) == 2, "each tenant leaves by its own router"


def test_nothing_of_a_tenant_or_of_the_outside_reaches_the_management_plane(
    cloud: Any, hosts: Make, outside: OutsideHost
) -> None:
    router = cloud.router("r")
    net = cloud.routed("n", "10.6.2.0/24", router=router)
    host = hosts("a", net)
    until("forwarding", lambda: host.ping("10.6.2.1") is not None, 10.0)
    dhcp = next(p for p in cloud.network.ports(network_id=net.id) if p.device_owner == "network:dhcp")
    external = cloud.network.get_router(router.id).external_gateway_info["external_fixed_ips"]

    inside = ["10.6.2.1", dhcp.fixed_ips[0]["ip_address"], "127.0.0.1", "169.254.169.254"]
    for port in (NODE_PORT, INTAKE_PORT, METRICS_PORT, NEUTRON_PORT, 22):
        for address in inside:
            assert not connects(host, address, port), f"a tenant reached {address}:{port}"
        for fixed in external:
            assert not connects(outside, fixed["ip_address"], port), f"the outside reached port {port}"
    assert ADMIN_SOCKET.stat().st_mode & 0o077 == 0


def test_the_outside_cannot_use_a_router_to_reach_a_private_network(
    cloud: Any, hosts: Make, outside: OutsideHost
) -> None:
    """With SNAT on, an address behind the router is reached by floating IP or not at all."""
    router = cloud.router("r")
    host = hosts("a", cloud.routed("n", "10.6.3.0/24", router=router))
    fixed = cloud.network.get_router(router.id).external_gateway_info["external_fixed_ips"]
    gateway = next(f["ip_address"] for f in fixed if "." in f["ip_address"])
    other = cloud.routed("m", "10.6.4.0/24", project=cloud.other_project)
    stranger = hosts("b", other, project=cloud.other_project)
    outside.add_route("10.6.4.0/24", gateway)

    with tcp_echo(host, 7), tcp_echo(stranger, 7):
        assert not reaches(outside, stranger.address(4), 7)
