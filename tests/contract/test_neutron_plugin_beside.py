"""Astara beside another L3 provider, on a real Neutron: flavored routers only, no node announced at first, DHCP off."""

from __future__ import annotations

from typing import Any

import pytest

from support.neutron.cloud import Cloud

pytestmark = pytest.mark.neutron


def ports_of(cloud: Cloud, device: dict[str, Any]) -> list[dict[str, Any]]:
    return cloud.call("GET", "/ports", params={"device_id": device["id"]})["ports"]


def binding(port: dict[str, Any]) -> tuple[str, str, str]:
    return port["binding:host_id"], port["binding:vif_type"], port["status"]


@pytest.fixture(scope="module")
def flavor(shared_cloud: Cloud) -> dict[str, Any]:
    profile = shared_cloud.make(
        "service_profile",
        driver="astara_neutron.l3_provider.AstaraL3",
        metainfo='{"body": "namespace"}',
    )
    flavor = shared_cloud.make("flavor", name="astara", service_type="L3_ROUTER_NAT")
    path = f"/flavors/{flavor['id']}/service_profiles"
    shared_cloud.call("POST", path, {"service_profile": {"id": profile["id"]}})
    return flavor


def test_only_flavored_routers_are_told_and_they_carry_the_flavors_metainfo(shared_cloud, flavor):
    ours = shared_cloud.router(flavor_id=flavor["id"])
    theirs = shared_cloud.router()
    (seen,) = shared_cloud.routers(ours["id"], theirs["id"])["routers"]
    assert (seen["id"], seen["flavor_id"]) == (ours["id"], flavor["id"])
    assert seen["flavor_metainfo"] == {"body": "namespace"}
    assert theirs["id"] not in {router["id"] for router in shared_cloud.routers()["routers"]}
    profile = shared_cloud.call("GET", "/service_profiles")["service_profiles"][0]
    before = shared_cloud.revision()
    change = {"service_profile": {"metainfo": "{}"}}
    shared_cloud.call("PUT", f"/service_profiles/{profile['id']}", change, status=409)  # in use
    assert shared_cloud.revision() == before


def test_what_cannot_be_promised_is_refused(shared_cloud, flavor):
    router = {"router": {"name": "r", "flavor_id": flavor["id"], "distributed": True}}
    shared_cloud.call("POST", "/routers", router, status=400)


def test_a_router_of_ours_is_not_active_before_it_runs(shared_cloud, flavor):
    """Trap: status ACTIVE reported before anything runs."""
    assert shared_cloud.router(flavor_id=flavor["id"])["status"] == "ALLOCATING"
    assert shared_cloud.router()["status"] == "ACTIVE"


def test_ports_wait_for_a_node_and_are_bound_when_there_is_one(shared_cloud, flavor):
    _, (subnet,) = shared_cloud.network("10.95.0.0/24")
    ours, theirs = shared_cloud.router(subnet, flavor_id=flavor["id"]), shared_cloud.router()
    _, (other,) = shared_cloud.network("10.95.1.0/24")
    shared_cloud.call("PUT", f"/routers/{theirs['id']}/add_router_interface", {"subnet_id": other["id"]})
    assert [binding(item) for item in ports_of(shared_cloud, ours)] == [("", "unbound", "DOWN")]
    nodes = {"nodes": [{"host": "late"}, {"host": "away", "available": False}]}
    assert shared_cloud.call("PUT", "/astara/nodes", nodes) == {"bound": 1, "waiting": 0}
    assert [binding(item) for item in ports_of(shared_cloud, ours)] == [("late", "bridge", "ACTIVE")]
    assert [binding(item) for item in ports_of(shared_cloud, theirs)] == [("", "unbound", "DOWN")]
    assert shared_cloud.call("PUT", "/astara/nodes", nodes) == {"bound": 0, "waiting": 0}


def test_a_port_that_could_not_be_bound_is_bound_when_its_node_is_back(shared_cloud, flavor):
    _, (subnet,) = shared_cloud.network("10.96.0.0/24")
    router = shared_cloud.router(flavor_id=flavor["id"])
    shared_cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": "node"}]})
    shared_cloud.sql("INSERT INTO astara_placements VALUES ('router', ?, 'unheard-of')", router["id"])
    shared_cloud.call("PUT", f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    assert [item["binding:vif_type"] for item in ports_of(shared_cloud, router)] == ["binding_failed"]
    nodes = {"nodes": [{"host": "node"}, {"host": "unheard-of"}]}
    assert shared_cloud.call("PUT", "/astara/nodes", nodes)["bound"] == 1
    assert [binding(item) for item in ports_of(shared_cloud, router)] == [("unheard-of", "bridge", "ACTIVE")]


def test_a_node_the_announcement_leaves_out_gets_nothing_new(shared_cloud, flavor):
    shared_cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": "one"}, {"host": "two"}]})
    shared_cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": "two"}]})
    for number in range(4):
        _, (subnet,) = shared_cloud.network(f"10.97.{number}.0/24")
        router = shared_cloud.router(subnet, flavor_id=flavor["id"])
        assert shared_cloud.routers(router["id"])["routers"][0]["host"] == "two"


def test_networks_are_somebody_elses_when_dhcp_is_off(shared_cloud):
    network, _ = shared_cloud.network("10.98.0.0/24")
    (seen,) = shared_cloud.networks(network["id"])["networks"]
    assert (seen["managed"], seen["host"]) == (False, None)


def test_a_tenants_call_succeeds_even_when_our_tables_are_gone(shared_cloud, flavor):
    for table in ("astara_changes", "astara_placements", "astara_nodes"):
        shared_cloud.sql(f"ALTER TABLE {table} RENAME TO {table}_away")
    try:
        _, (subnet,) = shared_cloud.network("10.99.0.0/24")
        router = shared_cloud.router(subnet, flavor_id=flavor["id"])
        shared_cloud.call("PUT", f"/routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]})
        shared_cloud.call("DELETE", f"/routers/{router['id']}")
    finally:
        for table in ("astara_changes", "astara_placements", "astara_nodes"):
            shared_cloud.sql(f"ALTER TABLE {table}_away RENAME TO {table}")
