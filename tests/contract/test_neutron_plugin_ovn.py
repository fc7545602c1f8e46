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
    with ovn(tmp_path_factory.mktemp("ovn"), "chassis-a", "chassis-b") as databases:
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


def test_a_pair_has_a_network_of_its_own_and_the_chassis_of_the_active_half_gets_the_ports(cloud, databases):
    """OVN's L3 plug-in has no HA networks; what OVN delivers to is `requested-chassis`."""
    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": "chassis-a"}, {"host": "chassis-b"}]})
    driver = "astara_neutron.ovn_provider.AstaraOvn"
    profile = cloud.make("service_profile", driver=driver, metainfo='{"ha": "true"}')
    flavor = cloud.make("flavor", name="pair", service_type="L3_ROUTER_NAT")
    cloud.call("POST", f"/flavors/{flavor['id']}/service_profiles", {"service_profile": {"id": profile["id"]}})
    _, (subnet,) = cloud.network("10.23.0.0/24")
    router = cloud.router(subnet, flavor_id=flavor["id"])

    (seen,) = cloud.routers(router["id"])["routers"]
    first, second = (member["host"] for member in seen["members"])
    assert {first, second} == {"chassis-a", "chassis-b"}
    assert [member["port"]["host"] for member in seen["members"]] == [first, second]
    (port,) = seen["interfaces"]
    assert databases.requested(port["id"]) == first

    cloud.call("PUT", "/astara/active", {"id": router["id"], "host": second})

    assert databases.requested(port["id"]) == second
    (seen,) = cloud.routers(router["id"])["routers"]
    assert [(one["host"], one["vif_type"]) for one in seen["interfaces"]] == [(second, "ovs")]
    cloud.call("PUT", f"/routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]})
    cloud.call("DELETE", f"/routers/{router['id']}")
    assert [one for one in cloud.call("GET", "/networks")["networks"] if one["name"].startswith("HA ")] == []
    cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": "chassis-a"}]})
