"""What a router forwards, and what it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from socket import SOCK_DGRAM
from typing import Any

import pytest

from astara_lab.hosts import Host, OutsideHost
from astara_lab.listeners import http_server, tcp_echo, tcp_server
from astara_lab.waiting import until

pytestmark = pytest.mark.e2e

OUTSIDE = "198.51.100.1"
OUTSIDE_V6 = "2001:db8:ffff::1"
SLAAC = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}
Make = Callable[..., Host]


def dual_stack(cloud: Any, name: str, number: int, router: Any) -> Any:
    """A network with an IPv4 and an IPv6 subnet, both on the router."""
    net = cloud.routed(name, f"10.5.{number}.0/24", router=router)
    v6 = cloud.network.create_subnet(
        network_id=net.id, project_id=cloud.project, ip_version=6, cidr=f"2001:db8:5:{number}::/64", **SLAAC
    )
    cloud.network.add_interface_to_router(router, subnet=v6.id)
    return net


def gateway(cloud: Any, router: Any, version: int) -> str:
    shown = cloud.network.get_router(router.id).external_gateway_info["external_fixed_ips"]
    return next(fixed["ip_address"] for fixed in shown if (":" in fixed["ip_address"]) == (version == 6))


def fetches(client: Any, url: str) -> bool:
    try:
        return bool(client.fetch(url, timeout_s=2.0).text)
    except OSError:
        return False


def test_two_subnets_of_a_tenant_reach_each_other_on_both_stacks(cloud: Any, hosts: Make) -> None:
    router = cloud.router("r", gateway=False)
    one = hosts("one", dual_stack(cloud, "n1", 1, router))
    two = hosts("two", dual_stack(cloud, "n2", 2, router))

    with tcp_echo(two, 7):
        for version in (4, 6):
            seen = one.ask_tcp(two.address(version), 7, b"hello")
            assert seen == str(one.address(version)).encode() + b" hello", "translated between internal networks"


def test_a_removed_interface_carries_nothing_and_the_other_goes_on(
    cloud: Any, hosts: Make, outside: OutsideHost
) -> None:
    router = cloud.router("r")
    gone_net = cloud.routed("gone", "10.5.3.0/24", router=router)
    stays = hosts("stays", cloud.routed("stays", "10.5.4.0/24", router=router))
    gone = hosts("gone", gone_net)
    subnet = next(iter(cloud.network.subnets(network_id=gone_net.id)))

    with http_server(outside, 80):
        assert fetches(gone, f"http://{OUTSIDE}/")
        cloud.network.remove_interface_from_router(router, subnet_id=subnet.id)
        until("nothing from the removed network", lambda: not fetches(gone, f"http://{OUTSIDE}/"), 10.0)
        assert fetches(stays, f"http://{OUTSIDE}/")


def test_several_interfaces_on_one_network_each_serve_their_subnet(
    cloud: Any, hosts: Make, outside: OutsideHost
) -> None:
    router = cloud.router("r")
    net = cloud.routed("n", "10.5.5.0/24", router=router)
    second = cloud.network.create_subnet(network_id=net.id, project_id=cloud.project, ip_version=4, cidr="10.5.6.0/24")
    cloud.network.add_interface_to_router(router, subnet=second.id)
    first = next(s for s in cloud.network.subnets(network_id=net.id) if s.id != second.id)

    one = hosts("one", net, fixed_ips=[{"subnet_id": first.id}])
    two = hosts("two", net, fixed_ips=[{"subnet_id": second.id}])

    with http_server(outside, 80), http_server(two, 80):
        assert fetches(one, f"http://{OUTSIDE}/")
        assert fetches(two, f"http://{OUTSIDE}/")
        assert fetches(one, f"http://{two.address(4)}/")


def test_an_extra_route_is_followed_and_withdrawn(cloud: Any, hosts: Make) -> None:
    router = cloud.router("r", gateway=False)
    near = hosts("near", cloud.routed("n1", "10.5.7.0/24", router=router))
    # The next hop forwards for others, so its port may carry addresses that are not its own.
    hop = hosts("hop", cloud.routed("n2", "10.5.8.0/24", router=router), port_security_enabled=False)
    hop.run(["ip", "address", "add", "10.99.0.1/32", "dev", "lo"])
    hop.run(["ip", "link", "set", "lo", "up"])

    route = {"destination": "10.99.0.0/24", "nexthop": str(hop.address(4))}
    cloud.network.update_router(router, routes=[route])
    with http_server(hop, 80):
        until("the route", lambda: fetches(near, "http://10.99.0.1/"), 10.0)
        cloud.network.update_router(router, routes=[])
        until("no route", lambda: not fetches(near, "http://10.99.0.1/"), 10.0)


def test_administratively_down_forwards_nothing_and_up_again_does(
    cloud: Any, hosts: Make, outside: OutsideHost
) -> None:
    router = cloud.router("r")
    host = hosts("a", cloud.routed("n", "10.5.9.0/24", router=router))

    with http_server(outside, 80):
        assert fetches(host, f"http://{OUTSIDE}/")
        cloud.network.update_router(router, is_admin_state_up=False)
        until("closed", lambda: not fetches(host, f"http://{OUTSIDE}/"), 10.0)
        cloud.network.update_router(router, is_admin_state_up=True)
        until("open", lambda: fetches(host, f"http://{OUTSIDE}/"), 10.0)


@pytest.mark.parametrize("version", [4, 6])
def test_a_router_with_an_external_address_of_one_family_only(
    cloud: Any, hosts: Make, outside: OutsideHost, version: int
) -> None:
    """Trap: only IPv6 or only IPv4 on the external network breaks rules (W19, W20)."""
    subnet = next(s for s in cloud.network.subnets(network_id=cloud.external.id) if s.ip_version == version)
    info = {"network_id": cloud.external.id, "external_fixed_ips": [{"subnet_id": subnet.id}]}
    router = cloud.router("r", external_gateway_info=info)
    host = hosts("a", dual_stack(cloud, "n", 10 + version, router))
    if version == 6:
        outside.add_route(f"2001:db8:5:{10 + version}::/64", gateway(cloud, router, 6))

    with http_server(outside, 80):
        reached = f"http://{OUTSIDE}/" if version == 4 else f"http://[{OUTSIDE_V6}]/"
        until("its family", lambda: fetches(host, reached), 10.0)


def test_several_external_addresses_are_all_the_routers_own(cloud: Any, hosts: Make, outside: OutsideHost) -> None:
    subnet = next(s for s in cloud.network.subnets(network_id=cloud.external.id) if s.ip_version == 4)
    fixed = [{"subnet_id": subnet.id, "ip_address": f"198.51.100.{last}"} for last in (201, 202)]
    router = cloud.router("r", external_gateway_info={"network_id": cloud.external.id, "external_fixed_ips": fixed})
    host = hosts("a", cloud.routed("n", "10.5.16.0/24", router=router))

    for address in ("198.51.100.201", "198.51.100.202"):
        assert outside.ping(address) is not None
    with http_server(outside, 80):
        assert host.fetch(f"http://{OUTSIDE}/").text in ("198.51.100.201", "198.51.100.202")


def test_the_outside_reaches_routed_ipv6(cloud: Any, hosts: Make, outside: OutsideHost) -> None:
    router = cloud.router("r")
    host = hosts("a", dual_stack(cloud, "n", 17, router))
    outside.add_route("2001:db8:5:17::/64", gateway(cloud, router, 6))

    with http_server(host, 80):
        until("routed IPv6", lambda: fetches(outside, f"http://[{host.address(6)}]/"), 10.0)


def test_a_bandwidth_limit_on_a_floating_ip_slows_its_traffic(cloud: Any, hosts: Make, outside: OutsideHost) -> None:
    router = cloud.router("r")
    host = hosts("a", cloud.routed("n", "10.5.18.0/24", router=router))
    policy = cloud.network.create_qos_policy(name="slow", project_id=cloud.project)
    cloud.network.create_qos_bandwidth_limit_rule(policy, max_kbps=1000, max_burst_kbps=100, direction="egress")
    floating = cloud.floating_ip(host)

    free = upload_kbps(host, outside)
    cloud.network.update_ip(floating, qos_policy_id=policy.id)

    until("slow", lambda: upload_kbps(host, outside) < 2000, 20.0)
    assert free > 5000
    cloud.network.update_ip(floating, qos_policy_id=None)
    until("fast again", lambda: upload_kbps(host, outside) > 5000, 20.0)


def upload_kbps(sender: Any, receiver: Any, amount: int = 400_000) -> float:
    """Rate of a TCP upload in kbit/s, as the receiver confirms it."""

    def swallow(link: Any, _peer: str) -> None:
        got = 0
        while got < amount:
            data = link.recv(65536)
            if not data:
                return
            got += len(data)
        link.sendall(b"all")

    with tcp_server(receiver, 9, swallow), sender.socket() as link:
        link.settimeout(20.0)
        link.connect((OUTSIDE, 9))
        began = time.monotonic()
        link.sendall(b"x" * amount)
        assert link.recv(3) == b"all"
        return amount * 8 / 1000 / (time.monotonic() - began)


def test_an_ndp_proxy_publishes_one_address_outside(cloud: Any, hosts: Make, outside: OutsideHost) -> None:
    scope = cloud.network.create_address_scope(name="v6", ip_version=6, is_shared=True)
    pool = cloud.network.create_subnet_pool(
        name="v6", prefixes=["2001:db8:77::/48"], default_prefix_length=64, address_scope_id=scope.id, is_shared=True
    )
    external = cloud.network.create_network(name="public6", is_router_external=True, provider_network_type="local")
    try:
        outer = cloud.network.create_subnet(
            network_id=external.id, ip_version=6, subnet_pool_id=pool.id, is_dhcp_enabled=False
        )
        router = cloud.router("r", external_gateway_info={"network_id": external.id}, enable_ndp_proxy=True)
        net = cloud.network.create_network(name="n", project_id=cloud.project)
        inner = cloud.network.create_subnet(
            network_id=net.id, project_id=cloud.project, ip_version=6, subnet_pool_id=pool.id, **SLAAC
        )
        cloud.network.add_interface_to_router(router, subnet=inner.id)
        host = hosts("a", net)
        beyond = OutsideHost.open(_lab(), external.id, name="outside6")
        try:
            beyond.run(["ip", "-6", "route", "replace", inner.cidr, "dev", "eth0"])
            assert beyond.cannot_ping(host.address(6), tries=1)
            proxy = cloud.network.create_ndp_proxy(router_id=router.id, port_id=host.port_id)
            assert beyond.ping(host.address(6)) is not None
            cloud.network.delete_ndp_proxy(proxy)
            beyond.run(["ip", "-6", "neigh", "flush", "dev", "eth0"])
            until("withdrawn", lambda: beyond.cannot_ping(host.address(6), tries=1), 15.0)
        finally:
            beyond.close(_lab())
        assert outer.cidr
    finally:
        _forget(cloud, external)


def _lab() -> Any:
    from astara_lab.places import find_lab

    return find_lab("embedded")


def _forget(cloud: Any, external: Any) -> None:
    for router in cloud.network.routers():
        if (router.external_gateway_info or {}).get("network_id") == external.id:
            for port in cloud.network.ports(device_id=router.id, device_owner="network:router_interface"):
                cloud.network.remove_interface_from_router(router, port_id=port.id)
            cloud.network.delete_router(router)
    cloud.network.delete_network(external)


def test_a_conntrack_helper_opens_the_data_connection(cloud: Any, hosts: Make, outside: OutsideHost) -> None:
    """TFTP answers from another port: only a helper lets that answer through SNAT."""
    router = cloud.router("r")
    host = hosts("a", cloud.routed("n", "10.5.19.0/24", router=router))

    assert not tftp_answer_arrives(host, outside)
    cloud.network.create_conntrack_helper(router, protocol="udp", port=69, helper="tftp")

    until("helped", lambda: tftp_answer_arrives(host, outside), 15.0)


def tftp_answer_arrives(client: Any, server: Any) -> bool:
    """Whether data sent from a port of the server's own choosing reaches who asked on port 69 (RFC 1350)."""
    with server.socket(4, SOCK_DGRAM) as asked, server.socket(4, SOCK_DGRAM) as data:
        asked.settimeout(3.0)
        asked.bind((OUTSIDE, 69))
        with client.socket(4, SOCK_DGRAM) as ours:
            ours.settimeout(1.0)
            ours.sendto(b"\0\1file\0octet\0", (OUTSIDE, 69))
            _, peer = asked.recvfrom(512)
            data.bind((OUTSIDE, 0))
            data.sendto(b"\0\3\0\1hello", peer)
            try:
                return bool(ours.recv(512))
            except TimeoutError:
                return False
