from __future__ import annotations

from typing import Any

from storm.wish import DHCP, GATEWAY, INTERFACE, Answers, Wish, wish

NETWORK = {"id": "net", "name": "blue", "mtu": 1450}
OUTSIDE = {"id": "out", "name": "public", "mtu": 1500}
SUBNET = {
    "id": "sub",
    "network_id": "net",
    "cidr": "10.0.0.0/24",
    "ip_version": 4,
    "enable_dhcp": True,
    "gateway_ip": "10.0.0.1",
    "ipv6_ra_mode": None,
}
OUTSIDE_SUBNET = SUBNET | {
    "id": "outsub",
    "network_id": "out",
    "cidr": "198.51.100.0/24",
    "enable_dhcp": False,
    "gateway_ip": "198.51.100.1",
}
ROUTER: dict[str, Any] = {"id": "r", "name": "r", "admin_state_up": True, "status": "ACTIVE", "routes": []}


def port(identifier: str, owner: str, device: str, network: str, subnet: str, address: str) -> dict[str, Any]:
    return {
        "id": identifier,
        "device_owner": owner,
        "device_id": device,
        "network_id": network,
        "mac_address": f"mac-{identifier}",
        "status": "ACTIVE",
        "fixed_ips": [{"subnet_id": subnet, "ip_address": address}],
    }


INSIDE = port("if", INTERFACE, "r", "net", "sub", "10.0.0.1")
GATE = port("gw", GATEWAY, "r", "out", "outsub", "198.51.100.9")
LEASES = port("dhcp", DHCP, "dhcp-net", "net", "sub", "10.0.0.2")


def asked(**changed: Any) -> Wish:
    whole: dict[str, Any] = {
        "networks": (NETWORK, OUTSIDE),
        "subnets": (SUBNET, OUTSIDE_SUBNET),
        "ports": (INSIDE, GATE, LEASES),
        "routers": (ROUTER,),
    }
    return wish(Answers(**(whole | changed)))


def floating(**changed: Any) -> dict[str, Any]:
    return {
        "id": "fip",
        "floating_ip_address": "198.51.100.50",
        "fixed_ip_address": "10.0.0.7",
        "router_id": "r",
        "status": "ACTIVE",
    } | changed


def test_a_router_has_its_ports_addresses_and_the_way_out_of_its_gateways_subnet() -> None:
    found = asked().routers[0]
    assert {link.mac: set(link.addresses) for link in found.links} == {
        "mac-if": {"10.0.0.1/24"},
        "mac-gw": {"198.51.100.9/24"},
    }
    assert found.routes == {("0.0.0.0/0", "198.51.100.1")}
    assert [link.mtu for link in found.links] == [1450, 1500]


def test_floating_addresses_belong_to_the_gateways_link() -> None:
    found = asked(floatingips=(floating(),)).routers[0]
    assert found.floating == {("198.51.100.50", "10.0.0.7")}
    assert "198.51.100.50/32" in found.links[-1].addresses


def test_port_forwardings_are_wished_with_both_ends() -> None:
    rule = {"protocol": "tcp", "external_port": 2007, "internal_ip_address": "10.0.0.7", "internal_port": 7}
    found = asked(floatingips=(floating(fixed_ip_address=None),), forwardings={"fip": (rule,)}).routers[0]
    assert found.forwards == {("198.51.100.50", "tcp", 2007, "10.0.0.7", 7)}
    assert found.floating == frozenset()


def test_a_route_that_no_interface_reaches_is_nobodys_wish() -> None:
    routes = [
        {"destination": "192.168.1.0/24", "nexthop": "10.0.0.77"},
        {"destination": "192.168.2.0/24", "nexthop": "10.99.0.77"},
    ]
    found = asked(routers=(ROUTER | {"routes": routes},)).routers[0]
    assert ("192.168.1.0/24", "10.0.0.77") in found.routes
    assert not any("10.99.0.77" in route for route in found.routes)


def test_what_should_be_active_and_is_not_is_named_unless_it_is_administratively_down() -> None:
    ill = asked(routers=(ROUTER | {"status": "ALLOCATING"},), ports=(INSIDE | {"status": "DOWN"}, GATE, LEASES))
    assert len(ill.statuses) == 2
    down = asked(
        routers=(ROUTER | {"status": "ALLOCATING", "admin_state_up": False},),
        ports=(INSIDE | {"status": "DOWN"}, GATE, LEASES),
    )
    assert down.statuses == ()


def test_a_floating_ip_without_router_must_not_show_active() -> None:
    assert asked(floatingips=(floating(router_id=None, fixed_ip_address=None),)).statuses
    assert not asked(floatingips=(floating(router_id=None, fixed_ip_address=None, status="DOWN"),)).statuses


def test_dhcp_ports_nobody_wants_are_strays() -> None:
    assert asked(subnets=(SUBNET | {"enable_dhcp": False}, OUTSIDE_SUBNET)).strays
    assert asked(ports=(INSIDE, GATE, LEASES, LEASES | {"id": "second"})).strays
    assert asked(routers=()).strays  # its ports remain
    assert asked().strays == ()


def test_a_network_with_dhcp_needs_exactly_one_port_for_it() -> None:
    assert asked().services[0].link is not None
    assert asked(ports=(INSIDE, GATE)).services[0].link is None
