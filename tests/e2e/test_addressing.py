"""What a machine is told when it comes up: DHCPv4, router advertisements, DHCPv6, DNS, metadata."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from astara_lab.hosts import Host, Hosts, OutsideHost
from astara_lab.listeners import http_server
from astara_lab.places import Lab
from astara_lab.waiting import until

pytestmark = pytest.mark.e2e

Make = Callable[..., Host]


def lookup(host: Host, name: str, server: str | None = None) -> str:
    """What a resolver on the machine says of a name."""
    return host.run(["busybox", "nslookup", name, server or host.nameservers[0]]).stdout


def test_dhcp_tells_mtu_resolver_host_routes_and_domain(cloud: Any, hosts: Make) -> None:
    net = cloud.network.create_network(name="n", project_id=cloud.project, mtu=1400)
    cloud.network.create_subnet(
        network_id=net.id,
        project_id=cloud.project,
        ip_version=4,
        cidr="10.4.0.0/24",
        dns_nameservers=["192.0.2.53"],
        host_routes=[{"destination": "192.0.2.128/25", "nexthop": "10.4.0.77"}],
    )

    host = hosts("a", net)

    assert host.mtu == 1400
    assert host.nameservers == ("192.0.2.53",)
    assert any("192.0.2.128/25 via 10.4.0.77" in route for route in host.routes)
    assert any(route.startswith("default via 10.4.0.1") for route in host.routes)


def test_a_network_without_any_router_has_dhcp_and_metadata(cloud: Any, hosts: Make) -> None:
    net = cloud.routed("n", "10.4.1.0/24", gateway_ip=None)

    host = hosts("a", net)

    assert "router" not in host.lease
    assert host.fetch("http://169.254.169.254/latest/meta-data/instance-id").text == host.instance_id


def test_extra_dhcp_options_reach_only_their_port(cloud: Any, hosts: Make) -> None:
    net = cloud.routed("n", "10.4.2.0/24")

    wanted = [{"opt_name": "tftp-server", "opt_value": "192.0.2.9", "ip_version": 4}]
    one = hosts("one", net, extra_dhcp_opts=wanted)
    two = hosts("two", net)

    lease = one.clients.ask_v4(options=("tftp",))
    assert "192.0.2.9" in lease.values()
    assert "192.0.2.9" not in two.clients.ask_v4(options=("tftp",)).values()


def test_changing_a_ports_address_changes_its_lease(cloud: Any, hosts: Make) -> None:
    net = cloud.routed("n", "10.4.3.0/24")
    host = hosts("a", net)
    subnet = next(iter(cloud.network.subnets(network_id=net.id)))

    cloud.network.update_port(host.port_id, fixed_ips=[{"subnet_id": subnet.id, "ip_address": "10.4.3.200"}])

    until("the new address", lambda: host.clients.ask_v4().get("ip") == "10.4.3.200", 20.0)


def test_a_port_nobody_knows_gets_no_lease(cloud: Any, hosts: Make) -> None:
    net = cloud.routed("n", "10.4.4.0/24")
    host = hosts("a", net)
    host.run(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:99"])

    refused = host.run(["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "2", "-T", "1", "-s", "/bin/true"])

    assert not refused.ok


def test_dhcp_switched_off_stops_answering(cloud: Any, hosts: Make) -> None:
    net = cloud.routed("n", "10.4.5.0/24")
    host = hosts("a", net)
    subnet = next(iter(cloud.network.subnets(network_id=net.id)))

    cloud.network.update_subnet(subnet, enable_dhcp=False)

    ask = ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "1", "-T", "1", "-s", "/bin/true"]
    until("silence", lambda: not host.run(ask).ok, 15.0)


def test_slaac_gives_an_address_and_a_way_out(cloud: Any, hosts: Make, outside: OutsideHost) -> None:
    router = cloud.router("r")
    net = cloud.routed("n", "2001:db8:4::/64", router=router, ipv6_ra_mode="slaac", ipv6_address_mode="slaac")

    host = hosts("a", net)

    outside.add_route("2001:db8:4::/64", gateway_v6(cloud, router))
    with http_server(outside, 80):
        assert host.fetch("http://[2001:db8:ffff::1]/").text == str(host.address(6))


def gateway_v6(cloud: Any, router: Any) -> str:
    shown = cloud.network.get_router(router.id).external_gateway_info["external_fixed_ips"]
    return next(fixed["ip_address"] for fixed in shown if ":" in fixed["ip_address"])


@pytest.mark.parametrize("mode", ["dhcpv6-stateful", "dhcpv6-stateless"])
def test_dhcpv6_gives_addresses_or_options_as_the_mode_says(
    cloud: Any, hosts: Make, outside: OutsideHost, mode: str
) -> None:
    router = cloud.router("r")
    net = cloud.routed(
        "n",
        "2001:db8:5::/64",
        router=router,
        ipv6_ra_mode=mode,
        ipv6_address_mode=mode,
        dns_nameservers=["2001:db8::53"],
    )

    host = hosts("a", net)

    port = cloud.network.get_port(host.port_id)
    assert str(host.address(6)) == port.fixed_ips[0]["ip_address"]
    assert "2001:db8::53" in host.nameservers
    outside.add_route("2001:db8:5::/64", gateway_v6(cloud, router))
    with http_server(outside, 80):
        assert host.fetch("http://[2001:db8:ffff::1]/").text == str(host.address(6))


def test_a_second_prefix_on_a_live_router_is_advertised(cloud: Any, hosts: Make) -> None:
    router = cloud.router("r")
    slaac = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}
    net = cloud.routed("n", "2001:db8:6::/64", router=router, **slaac)
    host = hosts("a", net)

    second = cloud.network.create_subnet(
        network_id=net.id, project_id=cloud.project, ip_version=6, cidr="2001:db8:7::/64", **slaac
    )
    cloud.network.add_interface_to_router(router, subnet=second.id)

    host.clients.await_slaac(("2001:db8:6::/64", "2001:db8:7::/64"), 20.0)


def test_names_of_a_network_resolve_forward_and_back(cloud: Any, hosts: Make) -> None:
    net = cloud.routed("n", "10.4.6.0/24")
    one, two = hosts("one", net), hosts("two", net)

    dashed = "host-" + str(two.address(4)).replace(".", "-")
    until("its name", lambda: str(two.address(4)) in lookup(one, f"{dashed}.{one.lease['domain']}"), 10.0)
    assert dashed in lookup(one, str(two.address(4)))


def test_metadata_over_ipv4_through_a_router_and_over_ipv6_link_local(cloud: Any, hosts: Make) -> None:
    router = cloud.router("r")
    net = cloud.routed("n", "10.4.7.0/24", router=router)
    slaac = cloud.network.create_subnet(
        network_id=net.id,
        project_id=cloud.project,
        ip_version=6,
        cidr="2001:db8:8::/64",
        ipv6_ra_mode="slaac",
        ipv6_address_mode="slaac",
    )
    cloud.network.add_interface_to_router(router, subnet=slaac.id)

    host = hosts("a", net)

    assert host.fetch("http://169.254.169.254/latest/meta-data/instance-id").text == host.instance_id
    v6 = host.fetch("http://[fe80::a9fe:a9fe%eth0]/latest/meta-data/instance-id")
    assert v6.text == host.instance_id


def test_metadata_for_machines_configured_by_hand_that_know_their_router_only(cloud: Any, hosts: Make) -> None:
    router = cloud.router("r")
    for name, prefix in (("one", "10.4.10"), ("two", "10.4.11")):
        host = hosts(name, cloud.routed(name, f"{prefix}.0/24", router=router), configure=False)
        address = cloud.network.get_port(host.port_id).fixed_ips[0]["ip_address"]
        assert host.run(["ip", "address", "add", f"{address}/24", "dev", "eth0"]).ok
        assert host.run(["ip", "route", "add", "default", "via", f"{prefix}.1"]).ok

        until("its own metadata", partial(_is_told_who_it_is, host), 10.0)


def _is_told_who_it_is(host: Host) -> bool:
    try:
        return host.fetch("http://169.254.169.254/latest/meta-data/instance-id", 1.0).text == host.instance_id
    except OSError:  # neither router nor instance need be there yet
        return False


def test_metadata_believes_the_port_and_no_header(cloud: Any, hosts: Make) -> None:
    """Trap: a metadata proxy that trusts a header sent by the instance."""
    net = cloud.routed("n", "10.4.8.0/24")
    one, two = hosts("one", net), hosts("two", net)

    forged = {
        "X-Instance-ID": two.instance_id,
        "X-Forwarded-For": str(two.address(4)),
        "X-Neutron-Network-ID": net.id,
    }
    answer = one.fetch("http://169.254.169.254/latest/meta-data/instance-id", headers=forged)

    assert answer.text == one.instance_id


def test_metadata_answers_nobody_on_an_address_no_port_has(cloud: Any, hosts: Make) -> None:
    host = hosts("a", cloud.routed("n", "10.4.9.0/24"))
    host.run(["ip", "address", "add", "10.4.9.250/24", "dev", "eth0"])

    with host.socket() as raw:
        raw.settimeout(5.0)
        raw.bind(("10.4.9.250", 0))
        raw.connect(("169.254.169.254", 80))
        raw.sendall(b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: metadata\r\n\r\n")
        assert raw.recv(4096).split(b"\r\n")[0].split()[1] == b"404"


def test_an_ipv6_only_network_without_router_serves_dhcpv6_and_metadata(cloud: Any, hosts: Make, lab: Lab) -> None:
    net = cloud.routed("n", "2001:db8:9::/64", ipv6_address_mode="dhcpv6-stateful")

    host = hosts("a", net)

    assert str(host.address(6)) == cloud.network.get_port(host.port_id).fixed_ips[0]["ip_address"]
    assert Hosts(lab).promised(host).dhcp_v6
    answer = host.fetch("http://[fe80::a9fe:a9fe%eth0]/latest/meta-data/instance-id")
    assert answer.text == host.instance_id
