"""The plug-in on ML2/OVN: flavored routers are Astara's, all others stay OVN's, and so does DHCP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.neutron.cloud import Cloud, running
from support.neutron.ovn import Ovn, ovn

pytestmark = [pytest.mark.neutron, pytest.mark.timeout(300)]

PROVIDER = "service_provider = L3_ROUTER_NAT:astara:astara_neutron.ovn_provider.AstaraOvn"
PLUGINS = "ovn-router,port_forwarding,qos,segments,trunk,revisions,timestamp,tag,astara"


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ovn]:
    with ovn(tmp_path_factory.mktemp("ovn"), "chassis-a", "chassis-b", "chassis-c") as databases:
        yield databases


@pytest.fixture(scope="module")
def cloud(databases: Ovn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(
        tmp_path_factory.mktemp("neutron"),
        providers=PROVIDER,
        mechanisms="ovn",
        service_plugins=PLUGINS,
        tenant_networks="geneve",
        more=f"[ovn]\novn_nb_connection = {databases.north}\novn_sb_connection = {databases.south}\n",
    ) as cloud:
        cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": "chassis-a"}]})
        yield cloud
        cloud.client.close()


@pytest.fixture(scope="module")
def flavor(cloud: Cloud) -> dict[str, Any]:
    profile = cloud.make("service_profile", driver="astara_neutron.ovn_provider.AstaraOvn", metainfo="{}")
    flavor = cloud.make("flavor", name="astara", service_type="L3_ROUTER_NAT")
    path = f"/flavors/{flavor['id']}/service_profiles"
    cloud.call("POST", path, {"service_profile": {"id": profile["id"]}})
    return flavor


def test_a_flavored_router_is_ours_and_its_ports_are_bound_to_the_chassis(cloud, databases, flavor):
    external, _ = cloud.network("198.51.100.0/24", external=True)
    _, (subnet,) = cloud.network("10.20.0.0/24")
    router = cloud.router(subnet, gateway=external, flavor_id=flavor["id"])
    (seen,) = cloud.routers(router["id"])["routers"]
    ports = [seen["gateways"][0]["port"], *seen["interfaces"]]
    assert {(port["host"], port["vif_type"]) for port in ports} == {("chassis-a", "ovs")}
    known = databases.ports()
    assert all(port["id"] in known for port in ports)
    assert f"neutron-{router['id']}" not in known  # OVN makes no logical router of its own for it


def test_a_router_without_the_flavor_stays_ovns(cloud, databases, flavor):
    _, (subnet,) = cloud.network("10.21.0.0/24")
    router = cloud.router(subnet)
    assert cloud.routers(router["id"])["routers"] == []
    assert f"neutron-{router['id']}" in databases.ports()


def test_dhcp_is_ovns(cloud):
    network, _ = cloud.network("10.22.0.0/24")
    (seen,) = cloud.networks(network["id"])["networks"]
    assert (seen["managed"], seen["host"]) == (False, None)


def test_several_gateways_are_told(cloud, flavor):
    external, _ = cloud.network("203.0.113.0/24", external=True)
    router = cloud.router(gateway=external, flavor_id=flavor["id"])
    body = {"router": {"external_gateways": [{"network_id": external["id"]}]}}
    cloud.call("PUT", f"/routers/{router['id']}/add_external_gateways", body)
    (seen,) = cloud.routers(router["id"])["routers"]
    assert len(seen["gateways"]) == 2
    assert {gateway["port"]["host"] for gateway in seen["gateways"]} == {"chassis-a"}


def test_a_router_moves_to_another_chassis(cloud, flavor):
    _, (subnet,) = cloud.network("10.23.0.0/24")
    router = cloud.router(subnet, flavor_id=flavor["id"])
    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": "chassis-a"}, {"host": "chassis-b"}]})
    move = {"placements": [{"kind": "router", "id": router["id"], "host": "chassis-b"}]}
    cloud.call("PUT", "/astara/placements", move)
    (port,) = cloud.routers(router["id"])["routers"][0]["interfaces"]
    assert (port["host"], port["vif_type"]) == ("chassis-b", "ovs")


@pytest.fixture(scope="module")
def paired(cloud: Cloud) -> dict[str, Any]:
    """A flavor of pairs."""
    driver = "astara_neutron.ovn_provider.AstaraOvn"
    profile = cloud.make("service_profile", driver=driver, metainfo='{"ha": "true"}')
    flavor = cloud.make("flavor", name="pair", service_type="L3_ROUTER_NAT")
    cloud.call("POST", f"/flavors/{flavor['id']}/service_profiles", {"service_profile": {"id": profile["id"]}})
    return flavor


def test_a_pair_has_a_network_of_its_own_and_the_chassis_of_both_halves_get_the_ports(cloud, databases, paired):
    """OVN's L3 plug-in has no HA networks; what OVN delivers to is `requested-chassis`, the first one's own."""
    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": "chassis-a"}, {"host": "chassis-b"}]})
    flat = {"provider:network_type": "flat", "provider:physical_network": "public"}
    external, _ = cloud.network("192.0.2.0/24", external=True, **flat)
    _, (subnet,) = cloud.network("10.24.0.0/24")
    router = cloud.router(subnet, gateway=external, flavor_id=paired["id"])

    (seen,) = cloud.routers(router["id"])["routers"]
    first, second = (member["host"] for member in seen["members"])
    assert {first, second} == {"chassis-a", "chassis-b"}
    assert [member["port"]["host"] for member in seen["members"]] == [first, second]
    (inside,), outside = seen["interfaces"], seen["gateways"][0]["port"]
    assert databases.requested(inside["id"]) == f"{first},{second}"
    assert databases.requested(outside["id"]) == first  # frames of 1500 do not fit into these tunnels

    cloud.call("PUT", "/astara/active", {"id": router["id"], "host": second})

    assert databases.requested(inside["id"]) == f"{second},{first}"
    assert databases.requested(outside["id"]) == second
    (seen,) = cloud.routers(router["id"])["routers"]
    bound = [*seen["interfaces"], seen["gateways"][0]["port"]]
    assert [(one["host"], one["vif_type"]) for one in bound] == [(second, "ovs")] * 2
    _gone(cloud, router, subnet)


def test_a_port_that_joins_a_pair_and_one_of_a_half_that_moves_have_the_other_chassis_too(cloud, databases, paired):
    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": "chassis-a"}, {"host": "chassis-b"}]})
    router = cloud.router(flavor_id=paired["id"])
    (seen,) = cloud.routers(router["id"])["routers"]
    first, second = (member["host"] for member in seen["members"])
    _, (subnet,) = cloud.network("10.25.0.0/24")
    cloud.call("PUT", f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    (port,) = cloud.routers(router["id"])["routers"][0]["interfaces"]
    assert databases.requested(port["id"]) == f"{first},{second}"

    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": host} for host in ("chassis-a", "chassis-b", "chassis-c")]})
    move = {"placements": [{"kind": "router/1", "id": router["id"], "host": "chassis-c"}]}
    cloud.call("PUT", "/astara/placements", move)
    assert databases.requested(port["id"]) == f"{first},chassis-c"
    _gone(cloud, router, subnet)


def test_pairs_of_before_an_upgrade_get_the_other_chassis_and_what_others_say_in_a_profile_stays(cloud, paired):
    nodes = {"nodes": [{"host": "chassis-a"}, {"host": "chassis-b"}]}
    cloud.call("PUT", "/astara/nodes", nodes)
    _, (subnet,) = cloud.network("10.26.0.0/24")
    router = cloud.router(subnet, flavor_id=paired["id"])
    (port,) = cloud.routers(router["id"])["routers"][0]["interfaces"]
    said = "UPDATE ml2_port_bindings SET profile = ? WHERE port_id = ?"
    cloud.sql(said, '{"told": "by another"}', port["id"])

    cloud.call("PUT", "/astara/nodes", nodes)

    profile = cloud.call("GET", f"/ports/{port['id']}")["port"]["binding:profile"]
    other = {"chassis-a": "chassis-b", "chassis-b": "chassis-a"}[port["host"]]
    assert profile == {"told": "by another", "migrating_to": other}
    _gone(cloud, router, subnet)


def _gone(cloud, router, subnet):
    cloud.call("PUT", f"/routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]})
    cloud.call("DELETE", f"/routers/{router['id']}")
    assert [one for one in cloud.call("GET", "/networks")["networks"] if one["name"].startswith("HA ")] == []
    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": "chassis-a"}]})
