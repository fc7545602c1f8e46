"""The snapshot API on a real Neutron: what it tells, and what it costs."""

from __future__ import annotations

from typing import Any

import pytest

from astara.contract.codec import convert
from astara.contract.snapshot import (
    Bandwidth,
    ConntrackHelperSnapshot,
    DhcpOption,
    FixedIP,
    NetworkPage,
    Route,
    RouterPage,
)
from support.neutron.cloud import Cloud

pytestmark = pytest.mark.neutron


def furnish(cloud: Cloud, external: dict[str, Any], policy: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make a router that has one of everything, and the network inside it."""
    network, (subnet, subnet6) = cloud.network("10.20.0.0/24", "2001:db8:20::/64")
    router = cloud.router(subnet, subnet6, gateway=external)
    router_path = f"/routers/{router['id']}"
    cloud.call("PUT", router_path, {"router": {"routes": [{"destination": "10.99.0.0/16", "nexthop": "10.20.0.77"}]}})
    port = cloud.port(
        network,
        dns_name="web",
        qos_policy_id=policy["id"],
        fixed_ips=[{"subnet_id": subnet["id"], "ip_address": "10.20.0.50"}],
        extra_dhcp_opts=[{"opt_name": "bootfile-name", "opt_value": "pxelinux.0"}],
        **{"binding:host_id": "node-a"},
    )
    cloud.make("floatingip", floating_network_id=external["id"], port_id=port["id"], qos_policy_id=policy["id"])
    shared = cloud.make("floatingip", floating_network_id=external["id"])
    second = cloud.port(network, fixed_ips=[{"subnet_id": subnet["id"], "ip_address": "10.20.0.60"}])
    cloud.make(
        "port_forwarding",
        f"/floatingips/{shared['id']}/port_forwardings",
        protocol="tcp",
        internal_ip_address="10.20.0.60",
        internal_port_id=second["id"],
        internal_port=80,
        external_port=8080,
    )
    cloud.make("conntrack_helper", f"{router_path}/conntrack_helpers", protocol="udp", port=69, helper="tftp")
    cloud.call(
        "PUT",
        router_path,
        {"router": {"external_gateway_info": {"network_id": external["id"], "qos_policy_id": policy["id"]}}},
    )
    return router, network


@pytest.fixture(scope="module")
def external(cloud: Cloud) -> dict[str, Any]:
    physical = {"provider:network_type": "flat", "provider:physical_network": "public"}
    network, _ = cloud.network("198.51.100.0/24", "2001:db8:ff::/64", external=True, **physical)
    return network


@pytest.fixture(scope="module")
def policy(cloud: Cloud) -> dict[str, Any]:
    policy = cloud.make("policy", "/qos/policies", name="limited")
    for direction, kbps in (("ingress", 3000), ("egress", 1000)):
        cloud.make(
            "bandwidth_limit_rule",
            f"/qos/policies/{policy['id']}/bandwidth_limit_rules",
            max_kbps=kbps,
            max_burst_kbps=kbps // 10,
            direction=direction,
        )
    return policy


LIMITED = Bandwidth(ingress_kbps=3000, ingress_burst_kb=300, egress_kbps=1000, egress_burst_kb=100)


@pytest.fixture(scope="module")
def furnished(cloud: Cloud, external: dict[str, Any], policy: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return furnish(cloud, external, policy)


def page_of(cloud: Cloud, router: dict[str, Any]) -> RouterPage:
    return convert(cloud.routers(router["id"]), RouterPage)


def test_a_router_page_tells_everything_about_a_router(cloud, external, furnished):
    router, network = furnished
    page = page_of(cloud, router)
    (seen,) = page.routers
    assert (seen.id, seen.name, seen.admin_state_up) == (router["id"], "r", True)
    (gateway,) = seen.gateways
    assert gateway.enable_snat
    assert gateway.bandwidth == LIMITED
    assert {":" in address.ip_address for address in gateway.port.fixed_ips} == {True, False}
    assert sorted(address.ip_address for port in seen.interfaces for address in port.fixed_ips) == [
        "10.20.0.1",
        "2001:db8:20::",  # Neutron 29 gives a router the first address of an IPv6 subnet
    ]
    assert seen.routes == (Route(destination="10.99.0.0/16", nexthop="10.20.0.77"),)
    assert [(helper.protocol, helper.port, helper.helper) for helper in seen.conntrack_helpers] == [("udp", 69, "tftp")]
    assert isinstance(seen.conntrack_helpers[0], ConntrackHelperSnapshot)
    assert {item.id for item in page.networks} == {network["id"], external["id"]}


def test_a_router_page_tells_floating_ips_and_port_forwardings(cloud, furnished):
    (seen,) = page_of(cloud, furnished[0]).routers
    direct = next(item for item in seen.floating_ips if item.port_id)
    assert direct.fixed_ip_address == "10.20.0.50"
    assert direct.bandwidth == LIMITED
    shared = next(item for item in seen.floating_ips if not item.port_id)
    (forwarding,) = shared.port_forwardings
    assert (forwarding.protocol, forwarding.external_port_first, forwarding.external_port_last) == ("tcp", 8080, 8080)
    assert (forwarding.internal_ip, forwarding.internal_port_first) == ("10.20.0.60", 80)


def test_networks_of_a_router_carry_mtu_segment_and_subnets_but_no_ports(cloud, external, furnished):
    networks = {item.id: item for item in page_of(cloud, furnished[0]).networks}
    outside, inside = networks[external["id"]], networks[furnished[1]["id"]]
    assert (outside.external, outside.network_type, outside.physical_network) == (True, "flat", "public")
    assert (inside.external, inside.network_type, inside.mtu) == (False, "vxlan", 1450)
    assert inside.segmentation_id
    assert {subnet.cidr for subnet in inside.subnets} == {"10.20.0.0/24", "2001:db8:20::/64"}
    assert inside.ports == ()


def test_a_network_page_tells_what_dhcp_and_dns_need_of_every_port(cloud, furnished):
    page = convert(cloud.networks(furnished[1]["id"]), NetworkPage)
    (network,) = page.networks
    port = next(port for port in network.ports if port.dns_name)
    assert port.dns_name == "web"
    assert FixedIP(ip_address="10.20.0.50", subnet_id=port.fixed_ips[0].subnet_id) in port.fixed_ips
    assert port.extra_dhcp_opts == (DhcpOption(opt_name="bootfile-name", opt_value="pxelinux.0", ip_version=4),)
    assert port.bandwidth == LIMITED
    assert (port.host, port.vif_type, port.status) == ("node-a", "bridge", "ACTIVE")
    assert {port.device_owner for port in network.ports} == {"", "network:router_interface"}


def test_floating_ips_and_gateways_are_no_hosts_of_the_external_network(cloud, external, furnished):
    page = convert(cloud.networks(external["id"]), NetworkPage)
    assert page.networks[0].ports == ()


def test_subnet_details_are_told(cloud):
    network = cloud.make("network", name="n", dns_domain="example.net.")
    cloud.make(
        "subnet",
        network_id=network["id"],
        cidr="10.30.0.0/24",
        ip_version=4,
        gateway_ip=None,
        dns_nameservers=["192.0.2.53", "192.0.2.1"],
        host_routes=[{"destination": "10.31.0.0/16", "nexthop": "10.30.0.9"}],
        enable_dhcp=False,
    )
    cloud.make(
        "subnet",
        network_id=network["id"],
        cidr="2001:db8:30::/64",
        ip_version=6,
        ipv6_ra_mode="dhcpv6-stateless",
        ipv6_address_mode="dhcpv6-stateless",
    )
    (seen,) = convert(cloud.networks(network["id"]), NetworkPage).networks
    four, six = seen.subnets
    assert seen.dns_domain == "example.net."
    assert (four.gateway_ip, four.enable_dhcp) == (None, False)
    assert four.dns_nameservers == ("192.0.2.53", "192.0.2.1")  # in the order the tenant gave
    assert four.host_routes == (Route(destination="10.31.0.0/16", nexthop="10.30.0.9"),)
    assert (six.ipv6_ra_mode, six.ipv6_address_mode) == ("dhcpv6-stateless", "dhcpv6-stateless")


def test_a_network_policy_limits_hosts_but_not_the_routers_foot_in_it(cloud, policy):
    network, (subnet,) = cloud.network("10.40.0.0/24", qos_policy_id=policy["id"])
    router = cloud.router(subnet)
    cloud.port(network)
    (seen,) = convert(cloud.networks(network["id"]), NetworkPage).networks
    limits = {port.device_owner: port.bandwidth for port in seen.ports}
    assert limits == {"": LIMITED, "network:router_interface": None}
    assert page_of(cloud, router).routers[0].interfaces[0].bandwidth is None


def test_snat_can_be_off_and_ndp_proxies_are_told(cloud, external):
    scope = cloud.make("address_scope", "/address-scopes", name="v6", ip_version=6)
    pool = cloud.make(
        "subnetpool", name="p", prefixes=["2001:db8:a000::/48"], default_prefixlen=64, address_scope_id=scope["id"]
    )
    outside = cloud.make("network", name="out6", **{"router:external": True})
    cloud.make("subnet", network_id=outside["id"], ip_version=6, subnetpool_id=pool["id"])
    inside = cloud.make("network", name="in6")
    subnet = cloud.make("subnet", network_id=inside["id"], ip_version=6, subnetpool_id=pool["id"])
    router = cloud.make(
        "router",
        name="r",
        enable_ndp_proxy=True,
        external_gateway_info={"network_id": outside["id"], "enable_snat": False},
    )
    cloud.call("PUT", f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    port = cloud.port(inside)
    proxy = cloud.make("ndp_proxy", "/ndp_proxies", router_id=router["id"], port_id=port["id"])
    page = page_of(cloud, router)
    (seen,) = page.routers
    assert seen.enable_ndp_proxy
    assert not seen.gateways[0].enable_snat
    assert [(item.ip_address, item.port_id) for item in seen.ndp_proxies] == [(proxy["ip_address"], port["id"])]
    assert {subnet.address_scope_id for network in page.networks for subnet in network.subnets} == {scope["id"]}


def test_several_gateways_are_told_with_the_first_one_first(cloud, external):
    router = cloud.router(gateway=external)
    first = cloud.call("GET", "/ports", params={"device_id": router["id"]})["ports"][0]
    # Only the L3 plug-in of ML2/OVN has the API for it; these are the rows it writes (l3_extra_gws_db).
    others = [cloud.port(external)["id"] for _ in range(3)]
    for port_id in others:
        owner = ("network:router_gateway", router["id"], port_id)
        cloud.sql("UPDATE ports SET device_owner = ?, device_id = ? WHERE id = ?", *owner)
        cloud.sql("INSERT INTO routerports (port_type, router_id, port_id) VALUES (?, ?, ?)", *owner)
    (seen,) = page_of(cloud, router).routers
    assert [gateway.port.id for gateway in seen.gateways] == [first["id"], *sorted(others)]
    assert all(gateway.port.fixed_ips for gateway in seen.gateways)


@pytest.mark.timeout(300)
def test_reading_twenty_routers_takes_as_many_queries_as_reading_one(cloud, external, policy, furnished):
    others = [furnish(cloud, external, policy) for _ in range(2)]
    networks = cloud.call("POST", "/networks", {"networks": [{"name": "plain"}] * 17})["networks"]
    plain = [{"network_id": network["id"], "cidr": "10.21.0.0/24", "ip_version": 4} for network in networks]
    subnets = cloud.call("POST", "/subnets", {"subnets": plain})["subnets"]
    others += [(cloud.router(subnet), network) for subnet, network in zip(subnets, networks, strict=True)]
    cloud.routers(furnished[0]["id"])
    one = cloud.queries
    page = cloud.routers(furnished[0]["id"], *(router["id"] for router, _ in others))
    assert len(page["routers"]) == 20
    assert cloud.queries == one
    assert one <= 25
    cloud.networks(furnished[1]["id"])
    one = cloud.queries
    page = cloud.networks(furnished[1]["id"], *(network["id"] for _, network in others))
    assert len(page["networks"]) == 20
    assert cloud.queries == one
    assert one <= 20


def test_pages_hold_every_router_once_and_end(cloud, furnished):
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 3}
    while True:
        page = cloud.call("GET", "/astara/routers", params=params)
        seen += [router["id"] for router in page["routers"]]
        if not page["next"]:
            break
        assert len(page["routers"]) == 3
        params["marker"] = page["next"]
    assert len(seen) == len(set(seen))
    assert set(seen) == {router["id"] for router in cloud.call("GET", "/routers")["routers"]}


def test_many_ids_fit_into_a_body_and_unknown_ones_are_left_out(cloud, furnished):
    router, network = furnished
    unknown = "00000000-0000-4000-8000-000000000000"
    page = cloud.call("POST", "/astara/routers", {"ids": [router["id"], unknown]})
    assert [item["id"] for item in page["routers"]] == [router["id"]]
    page = cloud.call("POST", "/astara/networks", {"ids": [network["id"], unknown]})
    assert [item["id"] for item in page["networks"]] == [network["id"]]
    assert cloud.call("POST", "/astara/routers", {"ids": []})["routers"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/astara/routers?limit=many", None, 400, "limit"),
        ("GET", "/astara/routers?limit=0", None, 400, "limit"),
        ("GET", "/astara/changes?since=-1", None, 400, "since"),
        ("GET", "/astara/nothing", None, 404, "/v2.0/astara/nothing"),
        ("DELETE", "/astara/routers", None, 405, "GET, POST"),
        ("POST", "/astara/routers", {"ids": "x"}, 400, "$.ids"),
        ("PUT", "/astara/status", {"routers": [{"id": "x", "status": "FINE"}]}, 400, "$.routers[0].status"),
        ("PUT", "/astara/status", {"router": []}, 400, "router"),
        ("PUT", "/astara/nodes", {"nodes": [{"available": True}]}, 400, "$.nodes[0]"),
        ("PUT", "/astara/dhcp_ports", {"network_id": "gone", "host": "node-a"}, 404, "gone"),
        ("PUT", "/astara/placements", {"placements": [{"kind": "vm", "id": "x", "host": "node-a"}]}, 400, "[0].kind"),
        ("PUT", "/astara/placements", {"placements": [{"kind": "router", "id": "x", "host": "y"}]}, 409, "[0].host"),
        ("PUT", "/astara/placements", {"placements": [{"kind": "router", "id": "x", "host": "node-a"}]}, 404, "x"),
        ("PUT", "/astara/placements", {"placements": [{"kind": "network", "id": "x", "host": "node-a"}]}, 404, "x"),
    ],
)
def test_refusals_have_neutrons_shape_and_name_the_field(cloud, method, path, body, status, words):
    answer = cloud.call(method, path, body, status=status)
    error = answer["NeutronError"]
    assert words in (error["message"] if isinstance(error, dict) else error)


def test_a_body_that_is_no_json_is_refused_as_such(cloud):
    response = cloud.client.put("/astara/nodes", content=b"{nodes")
    assert response.status_code == 400
    assert "JSON" in response.json()["NeutronError"]["message"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/astara/routers"), ("PUT", "/astara/status")])
def test_a_plain_tenant_is_refused_and_a_service_is_not(cloud, method, path):
    body = {} if method == "PUT" else None
    as_tenant = {"X-Project-Id": "tenant", "X-Test-Roles": "member,reader"}
    cloud.call(method, path, body, status=403, headers=as_tenant)
    as_manager = {"X-Project-Id": "tenant", "X-Test-Roles": "manager,member,reader"}
    cloud.call(method, path, body, status=403, headers=as_manager)
    cloud.call(method, path, body, status=200, headers={"X-Project-Id": "service", "X-Test-Roles": "service"})


def test_the_extension_is_listed(cloud):
    aliases = {item["alias"] for item in cloud.call("GET", "/extensions")["extensions"]}
    assert "astara" in aliases
