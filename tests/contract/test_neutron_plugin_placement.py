"""Placement, binding, DHCP ports and statuses on a real Neutron."""

from __future__ import annotations

from typing import Any

import pytest

from support.neutron.cloud import Cloud

pytestmark = pytest.mark.neutron


def ports_of(cloud: Cloud, device: dict[str, Any]) -> list[dict[str, Any]]:
    return cloud.call("GET", "/ports", params={"device_id": device["id"]})["ports"]


def port(cloud: Cloud, identifier: str) -> dict[str, Any]:
    return cloud.call("GET", f"/ports/{identifier}")["port"]


def binding(port: dict[str, Any]) -> tuple[str, str, str]:
    return port["binding:host_id"], port["binding:vif_type"], port["status"]


@pytest.fixture(scope="module")
def external(cloud: Cloud) -> dict[str, Any]:
    return cloud.network("192.0.2.0/24", external=True)[0]


def test_router_ports_are_bound_by_the_call_that_makes_them(cloud, external):
    _, (subnet,) = cloud.network("10.80.0.0/24")
    router = cloud.router(subnet, gateway=external)
    host = cloud.routers(router["id"])["routers"][0]["host"]
    assert host in ("node-a", "node-b")
    assert [binding(item) for item in ports_of(cloud, router)] == [(host, "bridge", "ACTIVE")] * 2


def test_every_port_of_a_router_is_on_one_node_and_routers_spread(cloud):
    hosts = set()
    for _ in range(16):  # the chance of one node getting all of them is 1/32768
        _, (one, two) = cloud.network("10.81.0.0/24", "10.81.1.0/24")
        router = cloud.router(one, two)
        found = {item["binding:host_id"] for item in ports_of(cloud, router)}
        assert len(found) == 1
        hosts |= found
        if len(hosts) == 2:
            break
    assert len(hosts) == 2


def test_a_users_port_attached_by_its_id_is_bound_too(cloud):
    network, _ = cloud.network("10.82.0.0/24")
    own = cloud.port(network)
    assert binding(own) == ("", "unbound", "DOWN")
    router = cloud.router()
    cloud.call("PUT", f"/routers/{router['id']}/add_router_interface", {"port_id": own["id"]})
    assert binding(port(cloud, own["id"])) == (cloud.routers(router["id"])["routers"][0]["host"], "bridge", "ACTIVE")


def test_a_host_the_user_names_is_left_alone(cloud):
    network, _ = cloud.network("10.83.0.0/24")
    own = cloud.port(network, **{"binding:host_id": "elsewhere"})
    router = cloud.router()
    cloud.call("PUT", f"/routers/{router['id']}/add_router_interface", {"port_id": own["id"]})
    assert binding(port(cloud, own["id"])) == ("elsewhere", "bridge", "ACTIVE")


def test_a_router_moves_with_all_its_ports_and_stays_there(cloud, external):
    _, (subnet, later) = cloud.network("10.84.0.0/24", "10.84.1.0/24")
    router = cloud.router(subnet, gateway=external)
    before = cloud.routers(router["id"])["routers"][0]["host"]
    other = {"node-a": "node-b", "node-b": "node-a"}[before]
    placement = {"placements": [{"kind": "router", "id": router["id"], "host": other}]}
    revision = cloud.revision()
    assert cloud.call("PUT", "/astara/placements", placement) == {"moved": 1}
    assert ("router", router["id"]) in cloud.changed_after(revision)
    cloud.call("PUT", f"/routers/{router['id']}/add_router_interface", {"subnet_id": later["id"]})
    assert {binding(item) for item in ports_of(cloud, router)} == {(other, "bridge", "ACTIVE")}
    assert cloud.routers(router["id"])["routers"][0]["host"] == other


def test_a_tenants_port_on_a_host_is_active_without_any_dhcp_agent(cloud):
    network, _ = cloud.network("10.85.0.0/24")
    machine = cloud.port(network, device_owner="compute:nova", device_id="vm", **{"binding:host_id": "node-a"})
    assert binding(machine) == ("node-a", "bridge", "ACTIVE")
    assert machine["binding:vif_details"]["bridge_name"] == f"abr{network['id'][:11]}"


def dhcp_port(cloud: Cloud, network: dict[str, Any], host: str) -> dict[str, Any]:
    return cloud.call("PUT", "/astara/dhcp_ports", {"network_id": network["id"], "host": host})["port"]


def test_a_dhcp_port_has_an_address_in_every_subnet_with_dhcp_and_is_made_once(cloud):
    network, subnets = cloud.network("10.86.0.0/24", "10.86.1.0/24", "2001:db8:86::/64")
    without = cloud.make("subnet", network_id=network["id"], cidr="10.86.2.0/24", ip_version=4, enable_dhcp=False)
    made = dhcp_port(cloud, network, "node-a")
    assert {address["subnet_id"] for address in made["fixed_ips"]} == {subnet["id"] for subnet in subnets}
    assert without["id"] not in {address["subnet_id"] for address in made["fixed_ips"]}
    assert (made["device_owner"], made["host"], made["vif_type"], made["status"]) == (
        "network:dhcp",
        "node-a",
        "bridge",
        "ACTIVE",
    )
    # Neutron's get_dhcp_agent_device_id: the UUID is uuid5 of the host name in the namespace of DNS names
    assert made["device_id"] == f"dhcpbb697ef2-705e-5b37-8072-0b0db4f4d088-{network['id']}"
    revision = cloud.revision()
    assert dhcp_port(cloud, network, "node-a") == made
    assert cloud.revision() == revision


@pytest.mark.parametrize("mode", ["slaac", "dhcpv6-stateless", "dhcpv6-stateful"])
def test_a_dhcp_port_gets_an_ipv6_address_in_every_mode(cloud, mode):
    network, _ = cloud.network()
    modes = {"ipv6_ra_mode": mode, "ipv6_address_mode": mode}
    cloud.make("subnet", network_id=network["id"], cidr="2001:db8:87::/64", ip_version=6, **modes)
    made = dhcp_port(cloud, network, "node-a")
    assert [address["ip_address"][:12] for address in made["fixed_ips"]] == ["2001:db8:87:"]


def test_a_dhcp_port_is_mended_when_subnets_come_and_go(cloud):
    network, (first,) = cloud.network("10.88.0.0/24")
    made = dhcp_port(cloud, network, "node-a")
    second = cloud.make("subnet", network_id=network["id"], cidr="10.88.1.0/24", ip_version=4)
    mended = dhcp_port(cloud, network, "node-a")
    assert mended["id"] == made["id"]
    assert made["fixed_ips"][0] in mended["fixed_ips"]  # clients keep the server they know
    assert {address["subnet_id"] for address in mended["fixed_ips"]} == {first["id"], second["id"]}
    cloud.call("PUT", f"/subnets/{second['id']}", {"subnet": {"enable_dhcp": False}})
    assert dhcp_port(cloud, network, "node-a")["fixed_ips"] == made["fixed_ips"]


@pytest.mark.parametrize("how", ["switched off", "deleted"])
def test_a_dhcp_port_goes_with_the_last_subnet_that_needs_it(cloud, how):
    network, (first, second) = cloud.network("10.98.0.0/24", "10.98.1.0/24")
    dhcp_port(cloud, network, "node-a")

    def without(subnet):
        if how == "deleted":
            cloud.call("DELETE", f"/subnets/{subnet['id']}")
        else:
            cloud.call("PUT", f"/subnets/{subnet['id']}", {"subnet": {"enable_dhcp": False}})
        return cloud.call("GET", "/ports", params={"network_id": network["id"]})["ports"]

    assert len(without(first)) == 1
    assert without(second) == []
    # whoever is late must not make it again
    cloud.call("PUT", "/astara/dhcp_ports", {"network_id": network["id"], "host": "node-a"}, status=409)


def test_a_dhcp_port_that_could_not_be_bound_is_bound_when_nodes_are_announced(cloud):
    network, _ = cloud.network("10.90.0.0/24")
    made = dhcp_port(cloud, network, "node-a")
    cloud.sql("UPDATE ml2_port_bindings SET vif_type = 'binding_failed' WHERE port_id = ?", made["id"])
    nodes = {"nodes": [{"host": "node-a"}, {"host": "node-b"}]}
    assert cloud.call("PUT", "/astara/nodes", nodes) == {"bound": 1, "waiting": 0}
    assert port(cloud, made["id"])["binding:vif_type"] == "bridge"
    assert cloud.call("PUT", "/astara/nodes", nodes) == {"bound": 0, "waiting": 0}


def test_a_dhcp_port_left_behind_goes_when_nodes_are_announced(cloud):
    network, (subnet,) = cloud.network("10.99.0.0/24")
    dhcp_port(cloud, network, "node-a")
    cloud.sql("UPDATE subnets SET enable_dhcp = 0 WHERE id = ?", subnet["id"])
    nodes = [{"host": host} for host in ("node-a", "node-b")]
    cloud.call("PUT", "/astara/nodes", {"nodes": nodes})
    assert cloud.call("GET", "/ports", params={"network_id": network["id"]})["ports"] == []


def test_a_dhcp_port_moves_to_another_node_with_its_address(cloud):
    network, _ = cloud.network("10.89.0.0/24")
    made = dhcp_port(cloud, network, "node-a")
    placement = {"placements": [{"kind": "network", "id": network["id"], "host": "node-b"}]}
    cloud.call("PUT", "/astara/placements", placement)
    (moved,) = cloud.networks(network["id"])["networks"][0]["ports"]
    assert (moved["id"], moved["fixed_ips"], moved["host"]) == (made["id"], made["fixed_ips"], "node-b")
    assert moved["device_id"] != made["device_id"]
    assert cloud.networks(network["id"])["networks"][0]["host"] == "node-b"


def test_a_network_has_a_node_before_it_has_a_port_and_keeps_it(cloud):
    networks = [cloud.network("10.90.0.0/24")[0] for _ in range(8)]
    hosts = {item["id"]: item["host"] for item in cloud.networks(*(item["id"] for item in networks))["networks"]}
    assert set(hosts.values()) == {"node-a", "node-b"}
    dhcp_port(cloud, networks[0], hosts[networks[0]["id"]])
    assert cloud.networks(networks[0]["id"])["networks"][0]["host"] == hosts[networks[0]["id"]]


def test_an_address_range_that_is_used_up_is_a_conflict(cloud):
    network, _ = cloud.network()
    pools = [{"start": "10.91.0.2", "end": "10.91.0.2"}]
    cloud.make("subnet", network_id=network["id"], cidr="10.91.0.0/24", ip_version=4, allocation_pools=pools)
    cloud.port(network)
    request = {"network_id": network["id"], "host": "node-a"}
    error = cloud.call("PUT", "/astara/dhcp_ports", request, status=409)["NeutronError"]
    assert error["type"] == "IpAddressGenerationFailure"


def test_statuses_are_written_once_and_an_equal_one_writes_nothing(cloud, external, listener):
    network, (subnet,) = cloud.network("10.92.0.0/24")
    router = cloud.router(subnet, gateway=external)
    interface = next(item for item in ports_of(cloud, router) if item["network_id"] == network["id"])
    machine = cloud.port(network)
    floating_ip = cloud.make("floatingip", floating_network_id=external["id"], port_id=machine["id"])
    report = {
        "routers": [{"id": router["id"], "status": "ERROR"}],
        "ports": [{"id": interface["id"], "status": "DOWN"}],
        "floating_ips": [{"id": floating_ip["id"], "status": "ACTIVE"}],
    }
    revision = cloud.revision()
    assert cloud.call("PUT", "/astara/status", report) == {"written": 3}
    assert cloud.call("GET", f"/routers/{router['id']}")["router"]["status"] == "ERROR"
    assert port(cloud, interface["id"])["status"] == "DOWN"
    assert cloud.call("GET", f"/floatingips/{floating_ip['id']}")["floatingip"]["status"] == "ACTIVE"
    assert cloud.revision() == revision  # the one who said it need not look at it
    assert cloud.call("PUT", "/astara/status", report) == {"written": 0}
    assert cloud.queries <= 4


def floating_status(cloud, floating_ip):
    return cloud.call("GET", f"/floatingips/{floating_ip['id']}")["floatingip"]["status"]


@pytest.mark.parametrize(
    "way", ["taken away", "its port deleted", "its last forwarding deleted", "its forwarded port deleted", "moved"]
)
def test_a_floating_ip_that_leaves_its_router_is_down_whoever_hears_of_it(cloud, external, listener, way):
    """Nobody would ask about it later: an orchestrator that was away then would leave it ACTIVE for ever."""
    network, (subnet,) = cloud.network("10.94.0.0/24")
    cloud.router(subnet, gateway=external)
    other, (other_subnet,) = cloud.network("10.95.0.0/24")
    cloud.router(other_subnet, gateway=external)
    machine, neighbour = cloud.port(network), cloud.port(other)
    floating_ip = cloud.make("floatingip", floating_network_id=external["id"])
    path = f"/floatingips/{floating_ip['id']}"
    if "forward" in way:
        forwarding = cloud.forwarding(machine, floating_ip, 8080)
    else:
        cloud.call("PUT", path, {"floatingip": {"port_id": machine["id"]}})
    active = {"floating_ips": [{"id": floating_ip["id"], "status": "ACTIVE"}]}
    cloud.call("PUT", "/astara/status", active)
    assert floating_status(cloud, floating_ip) == "ACTIVE"

    match way:
        case "taken away":
            cloud.call("PUT", path, {"floatingip": {"port_id": None}})
        case "its port deleted" | "its forwarded port deleted":
            cloud.call("DELETE", f"/ports/{machine['id']}")
        case "its last forwarding deleted":
            cloud.call("DELETE", f"{path}/port_forwardings/{forwarding['id']}")
        case "moved":
            cloud.call("PUT", path, {"floatingip": {"port_id": neighbour["id"]}})
    assert floating_status(cloud, floating_ip) == "DOWN"

    served = way == "moved"
    assert cloud.call("PUT", "/astara/status", active) == {"written": int(served)}  # else a late report
    assert floating_status(cloud, floating_ip) == ("ACTIVE" if served else "DOWN")


def test_statuses_of_what_is_gone_are_left_out(cloud):
    gone = [{"id": "gone", "status": "ACTIVE"}]
    assert cloud.call("PUT", "/astara/status", {"routers": gone, "ports": gone, "floating_ips": gone}) == {"written": 0}


def test_a_bandwidth_limit_is_taken_for_a_routers_port_and_refused_where_nobody_enforces_it(cloud):
    network, (subnet,) = cloud.network("10.93.0.0/24")
    router = cloud.router(subnet)
    machine = cloud.port(network, **{"binding:host_id": "node-a"})
    policy = cloud.make("policy", "/qos/policies", name="p")
    cloud.make("bandwidth_limit_rule", f"/qos/policies/{policy['id']}/bandwidth_limit_rules", max_kbps=1000)
    (interface,) = ports_of(cloud, router)
    limited = {"port": {"qos_policy_id": policy["id"]}}
    cloud.call("PUT", f"/ports/{interface['id']}", limited)
    assert cloud.routers(router["id"])["routers"][0]["interfaces"][0]["bandwidth"]["egress_kbps"] == 1000
    error = cloud.call("PUT", f"/ports/{machine['id']}", limited, status=409)["NeutronError"]
    assert error["type"] == "QosRuleNotSupported"


def test_a_network_with_a_dhcp_agent_is_left_to_it(cloud):
    network, _ = cloud.network("10.100.0.0/24")
    agent = ("agent-1", "DHCP agent", "neutron-dhcp-agent", "dhcp_agent", "elsewhere", "2026-01-01", "2026-01-01")
    columns = "id, agent_type, binary, topic, host, created_at, started_at"
    cloud.sql(
        f"INSERT INTO agents ({columns}, heartbeat_timestamp, admin_state_up, configurations, load) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, '2026-01-01', 1, '{}', 0)",
        *agent,
    )
    insert = "INSERT INTO networkdhcpagentbindings (network_id, dhcp_agent_id, binding_index) VALUES (?, 'agent-1', 1)"
    cloud.sql(insert, network["id"])
    assert not cloud.networks(network["id"])["networks"][0]["managed"]
    cloud.sql("DELETE FROM networkdhcpagentbindings")
    cloud.sql("DELETE FROM agents")
    assert cloud.networks(network["id"])["networks"][0]["managed"]
