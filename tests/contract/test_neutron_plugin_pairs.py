"""Routers that are pairs, on a real Neutron: two nodes, two ports on a network no tenant sees."""

from __future__ import annotations

from typing import Any

import pytest

from support.neutron.cloud import Cloud

pytestmark = pytest.mark.neutron
HALF = "network:router_ha_interface"


def seen(cloud: Cloud, router: dict[str, Any]) -> dict[str, Any]:
    return cloud.routers(router["id"])["routers"][0]


def halves(cloud: Cloud, router: dict[str, Any]) -> list[dict[str, Any]]:
    query = {"device_id": router["id"], "device_owner": HALF}
    return cloud.call("GET", "/ports", params=query)["ports"]


def ha_networks(cloud: Cloud) -> list[dict[str, Any]]:
    return [network for network in cloud.call("GET", "/networks")["networks"] if network["name"].startswith("HA ")]


def test_a_pair_has_two_nodes_and_two_ports_of_its_own(cloud: Cloud) -> None:
    _, (subnet,) = cloud.network("10.70.0.0/24")
    router = cloud.router(subnet, ha=True)

    snapshot = seen(cloud, router)

    members = snapshot["members"]
    assert snapshot["ha"]
    assert [member["slot"] for member in members] == ["0", "1"]
    assert {member["host"] for member in members} == {"node-a", "node-b"}
    assert members[0]["host"] == snapshot["host"]
    for member in members:
        assert (member["port"]["host"], member["port"]["vif_type"]) == (member["host"], "bridge")
    assert [port["network_id"] for port in snapshot["interfaces"]] == [subnet["network_id"]]
    (network,) = ha_networks(cloud)
    assert network["tenant_id"] == ""
    page = cloud.routers(router["id"])
    assert network["id"] in {one["id"] for one in page["networks"]}

    cloud.call("PUT", f"/routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]})
    cloud.call("DELETE", f"/routers/{router['id']}")
    assert halves(cloud, router) == []
    assert ha_networks(cloud) == []


def test_a_half_moves_but_never_to_the_other_one(cloud: Cloud) -> None:
    router = cloud.router(ha=True)
    before = {member["slot"]: member["host"] for member in seen(cloud, router)["members"]}
    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": f"node-{name}"} for name in "abc"]})

    for host, wanted in ((before["1"], before["0"]), ("node-c", "node-c")):
        placement = {"placements": [{"kind": "router", "id": router["id"], "host": host}]}
        cloud.call("PUT", "/astara/placements", placement)

        members = seen(cloud, router)["members"]
        assert {member["slot"]: member["host"] for member in members} == before | {"0": wanted}
        assert [member["port"]["host"] for member in members] == [member["host"] for member in members]
    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": f"node-{name}"} for name in "ab"]})


def test_the_second_half_moves_too_and_never_to_the_first_one(cloud: Cloud) -> None:
    router, single = cloud.router(ha=True), cloud.router()
    before = {member["slot"]: member["host"] for member in seen(cloud, router)["members"]}
    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": f"node-{name}"} for name in "abc"]})

    for host, wanted in ((before["0"], before["1"]), ("node-c", "node-c")):
        items = [{"kind": "router/1", "id": one["id"], "host": host} for one in (router, single)]
        cloud.call("PUT", "/astara/placements", {"placements": items})

        snapshot = seen(cloud, router)
        assert {member["slot"]: member["host"] for member in snapshot["members"]} == before | {"1": wanted}
        assert [member["port"]["host"] for member in snapshot["members"]] == [before["0"], wanted]
        assert snapshot["host"] == before["0"]
    assert seen(cloud, single)["members"] == []
    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": f"node-{name}"} for name in "ab"]})


def bound_to(cloud: Cloud, router: dict[str, Any]) -> set[tuple[str, str]]:
    snapshot = seen(cloud, router)
    ports = [*snapshot["interfaces"], *(gateway["port"] for gateway in snapshot["gateways"])]
    return {(port["host"], port["vif_type"]) for port in ports}


def test_the_ports_are_bound_where_the_active_half_is(cloud: Cloud) -> None:
    _, (subnet,) = cloud.network("10.71.0.0/24")
    router = cloud.router(subnet, ha=True)
    first, second = (member["host"] for member in seen(cloud, router)["members"])
    assert bound_to(cloud, router) == {(first, "bridge")}

    answer = cloud.call("PUT", "/astara/active", {"id": router["id"], "host": second})

    assert answer["bound"] == len(seen(cloud, router)["interfaces"]) + len(seen(cloud, router)["gateways"])
    assert bound_to(cloud, router) == {(second, "bridge")}
    assert [member["port"]["host"] for member in seen(cloud, router)["members"]] == [first, second]
    assert cloud.call("PUT", "/astara/active", {"id": router["id"], "host": second}) == {"bound": 0}


def test_where_layer_2_learns_no_port_is_unbound_on_its_way(cloud: Cloud) -> None:
    """neutron-openvswitch-agent takes a port that it finds unbound from its network, until it looks again."""
    _, (subnet,) = cloud.network("10.74.0.0/24")
    router = cloud.router(subnet, ha=True)
    second = seen(cloud, router)["members"][1]["host"]
    (port,) = seen(cloud, router)["interfaces"]
    cloud.sql("UPDATE ml2_port_binding_levels SET driver = 'openvswitch' WHERE port_id = ?", port["id"])
    before, since = cloud.call("GET", f"/ports/{port['id']}")["port"], cloud.revision()

    cloud.call("PUT", "/astara/active", {"id": router["id"], "host": second})

    after = cloud.call("GET", f"/ports/{port['id']}")["port"]
    # Bound anew by the driver that binds here, its level would say that driver again, and the port have been updated.
    assert after == {**before, "binding:host_id": second}
    levels = cloud.sql("SELECT host, driver FROM ml2_port_binding_levels WHERE port_id = ?", port["id"])
    assert [tuple(row) for row in levels] == [(second, "openvswitch")]
    assert bound_to(cloud, router) == {(second, "bridge")}
    assert ("router", router["id"]) in cloud.changed_after(since)
    cloud.call("PUT", f"/ports/{port['id']}", {"port": {"name": "goes on"}})
    assert bound_to(cloud, router) == {(second, "bridge")}


def test_ports_that_are_bound_at_the_second_half_stay_there_when_the_first_one_moves(cloud: Cloud) -> None:
    _, (subnet,) = cloud.network("10.72.0.0/24")
    router = cloud.router(subnet, ha=True)
    second = seen(cloud, router)["members"][1]["host"]
    cloud.call("PUT", "/astara/active", {"id": router["id"], "host": second})
    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": f"node-{name}"} for name in "abc"]})

    placement = {"placements": [{"kind": "router", "id": router["id"], "host": "node-c"}]}
    cloud.call("PUT", "/astara/placements", placement)

    assert bound_to(cloud, router) == {(second, "bridge")}
    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": f"node-{name}"} for name in "ab"]})


def test_ports_that_are_bound_at_the_second_half_go_to_the_first_one_when_it_moves(cloud: Cloud) -> None:
    _, (subnet,) = cloud.network("10.73.0.0/24")
    router = cloud.router(subnet, ha=True)
    first, second = (member["host"] for member in seen(cloud, router)["members"])
    cloud.call("PUT", "/astara/active", {"id": router["id"], "host": second})
    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": f"node-{name}"} for name in "abc"]})

    placement = {"placements": [{"kind": "router/1", "id": router["id"], "host": "node-c"}]}
    cloud.call("PUT", "/astara/placements", placement)

    assert bound_to(cloud, router) == {(first, "bridge")}
    assert [member["host"] for member in seen(cloud, router)["members"]] == [first, "node-c"]
    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": f"node-{name}"} for name in "ab"]})


@pytest.mark.parametrize("ha", [True, False])
def test_nothing_is_bound_where_no_half_is(cloud: Cloud, ha: bool) -> None:
    router = cloud.router(ha=ha)
    host = "node-z" if ha else "node-a"
    refused = cloud.call("PUT", "/astara/active", {"id": router["id"], "host": host}, status=404)
    assert "is not a pair" in refused["NeutronError"]["message"]


def test_a_router_becomes_a_pair_and_stops_being_one(cloud: Cloud) -> None:
    router = cloud.router(admin_state_up=False)
    assert seen(cloud, router)["members"] == []

    cloud.call("PUT", f"/routers/{router['id']}", {"router": {"ha": True}})
    assert len(seen(cloud, router)["members"]) == 2
    cloud.call("PUT", f"/routers/{router['id']}", {"router": {"ha": False}})

    assert seen(cloud, router)["members"] == []
    assert halves(cloud, router) == []


def test_a_second_node_completes_a_pair(cloud: Cloud) -> None:
    one, both = ({"nodes": [{"host": f"node-{name}"} for name in names]} for names in ("a", "ab"))
    cloud.call("PUT", "/astara/nodes", one)
    router = cloud.router(ha=True)
    assert [member["host"] for member in seen(cloud, router)["members"]] == ["node-a", ""]

    cloud.call("PUT", "/astara/nodes", both)

    assert [member["host"] for member in seen(cloud, router)["members"]] == ["node-a", "node-b"]


def test_a_flavor_asks_for_pairs(cloud: Cloud) -> None:
    profile = cloud.make(
        "service_profile", driver="astara_neutron.l3_provider.AstaraL3", metainfo='{"ha": "true"}', enabled=True
    )
    flavor = cloud.make("flavor", name="pair", service_type="L3_ROUTER_NAT", enabled=True)
    body = {"service_profile": {"id": profile["id"]}}
    cloud.call("POST", f"/flavors/{flavor['id']}/service_profiles", body)

    router = cloud.router(flavor_id=flavor["id"])

    assert seen(cloud, router)["ha"]
    assert {member["host"] for member in seen(cloud, router)["members"]} == {"node-a", "node-b"}


def test_a_half_made_twice_at_the_same_time_goes_again_and_the_two_that_serve_stay(cloud: Cloud) -> None:
    """Whoever makes a pair and whoever completes it may both find that a port lacks."""
    router = cloud.router(ha=True)
    before = halves(cloud, router)
    third = {"network_id": before[0]["network_id"], "device_id": router["id"], "device_owner": HALF}
    cloud.call("POST", "/ports", {"port": third})
    assert len(halves(cloud, router)) == 3

    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": f"node-{name}"} for name in "ab"]})

    assert {port["id"] for port in halves(cloud, router)} == {port["id"] for port in before}
    assert [member["port"]["id"] for member in seen(cloud, router)["members"]] == sorted(port["id"] for port in before)
