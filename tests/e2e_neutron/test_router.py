"""The core of what a router of ours promises, on a production-like Neutron. Every claim is a packet's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from astara_lab.hosts import Host, OutsideHost
from astara_lab.listeners import http_server, tcp_echo
from astara_lab.waiting import until
from e2e.test_nat import OUTSIDE, gateway_v4, seen_by
from e2e_neutron.sight import Services, Traces, api_workers, namespaces_of, udp_listeners

pytestmark = pytest.mark.e2e

_DHCP = 67


def test_two_api_processes_serve_neutron(services: Services) -> None:
    """What the other tests of this folder change, they change through both."""
    master = services.pid("neutron")
    assert master is not None
    assert len(api_workers(master)) == 2


def test_leases_come_from_our_network_instances(site: Any, mech: str, ovs_only: None) -> None:
    for host, net in ((site.web, site.blue), (site.db, site.green)):
        ports = list(site.cloud.network.ports(network_id=net.id, device_owner="network:dhcp"))
        assert len(ports) == 1
        assert host.lease["serverid"] in [fixed["ip_address"] for fixed in ports[0].fixed_ips]
        assert ports[0].status == "ACTIVE"
        assert any(_DHCP in udp_listeners(namespace) for namespace in namespaces_of(net.id))


def test_tenant_to_tenant_with_their_own_addresses(site: Any) -> None:
    with http_server(site.db, 80):
        assert seen_by(str(site.db.address(4)), site.web) == str(site.web.address(4))


def test_tenant_to_outside_through_snat(site: Any, outside: OutsideHost) -> None:
    with http_server(outside, 80):
        until("SNAT", lambda: seen_by(OUTSIDE, site.db) == gateway_v4(site.cloud, site.router), 20.0)


def test_floating_ip_both_ways(site: Any, outside: OutsideHost) -> None:
    floating = site.cloud.floating_ip(site.web)

    with http_server(site.web, 80), http_server(outside, 80):
        until("the floating IP answers", lambda: seen_by(floating.floating_ip_address, outside) == OUTSIDE, 20.0)
        assert seen_by(OUTSIDE, site.web) == floating.floating_ip_address
        site.cloud.await_status("ip", floating)

        site.cloud.network.delete_ip(floating)
        until("SNAT again", lambda: seen_by(OUTSIDE, site.web) == gateway_v4(site.cloud, site.router), 20.0)


def test_port_forwarding(site: Any, outside: OutsideHost) -> None:
    floating = site.cloud.floating_ip()
    site.cloud.network.create_port_forwarding(
        floatingip_id=floating.id,
        internal_ip_address=str(site.db.address(4)),
        internal_port_id=site.db.port_id,
        internal_port=7,
        external_port=2007,
        protocol="tcp",
    )

    def answered() -> bool:
        try:
            return outside.ask_tcp(floating.floating_ip_address, 2007, b"hello", 2.0).endswith(b"hello")
        except OSError:
            return False

    with tcp_echo(site.db, 7):
        until("the forwarded port answers", answered, 20.0)


def test_ipv6_by_slaac_reaches_outside(site: Any, outside: OutsideHost) -> None:
    shown = site.cloud.network.get_router(site.router.id).external_gateway_info["external_fixed_ips"]
    outside.add_route("2001:db8:91::/64", next(fixed["ip_address"] for fixed in shown if ":" in fixed["ip_address"]))

    with http_server(outside, 80):
        until("IPv6", lambda: seen_by("[2001:db8:ffff::1]", site.web) == str(site.web.address(6)), 20.0)


def test_metadata_knows_each_machine(site: Any, ovs_only: None) -> None:
    for host in (site.web, site.db):
        answer = host.fetch("http://169.254.169.254/latest/meta-data/instance-id", timeout_s=15.0)
        assert answer.text == host.instance_id


def test_metadata_by_the_router_alone(site: Any, ovs_only: None) -> None:
    """Without the route DHCP gives there is the default route only, as on a machine configured by hand."""
    given = ["169.254.169.254", "via", site.db.lease["serverid"]]
    assert site.db.run(["ip", "route", "del", *given]).ok

    answer = site.db.fetch("http://169.254.169.254/latest/meta-data/instance-id", timeout_s=15.0)

    assert answer.text == site.db.instance_id
    assert site.db.run(["ip", "route", "add", *given]).ok


def test_neutron_shows_everything_active(site: Any) -> None:
    site.cloud.await_status("router", site.router)
    until("every port ACTIVE", lambda: not _inactive(site), 20.0)


def _inactive(site: Any) -> list[str]:
    """Ports of the tenant's networks and of the router that are not ACTIVE; OVN's own need not be."""
    ports = [port for net in (site.blue, site.green) for port in site.cloud.network.ports(network_id=net.id)]
    ports += site.cloud.network.ports(device_id=site.router.id)
    return [port.id for port in ports if port.status != "ACTIVE" and port.device_owner != "network:distributed"]


def test_what_is_removed_leaves_nothing(cloud: Any, hosts: Callable[..., Host], ours: dict[str, str]) -> None:
    before = Traces.now()
    router = cloud.router("short", **ours)
    net = cloud.network.create_network(name="short", project_id=cloud.project)
    subnet = cloud.network.create_subnet(network_id=net.id, project_id=cloud.project, ip_version=4, cidr="10.9.3.0/24")
    cloud.network.add_interface_to_router(router, subnet=subnet.id)
    inside = next(iter(cloud.network.ports(device_id=router.id, network_id=net.id)))
    until("the interface is plugged", lambda: inside.id in Traces.now().plugged, 20.0)

    cloud.network.remove_interface_from_router(router, subnet=subnet.id)

    until("the interface is gone", lambda: inside.id not in Traces.now().plugged, 20.0)
    cloud.network.delete_router(router)
    cloud.network.delete_network(net)
    until("nothing is left", lambda: Traces.now() == before, 20.0)
