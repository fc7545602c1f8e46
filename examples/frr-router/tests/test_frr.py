from __future__ import annotations

import pytest
from astara_frr.appliance import FrrAppliance
from astara_frr.driver import FrrDriver
from astara_frr.schema import FrrSection, Link, Route
from astara_frr.subsystem import FrrSubsystem
from msgspec.structs import replace

from astara.contract.codec import ContractError
from astara.contract.snapshot import FixedIP, NetworkSnapshot, PortSnapshot, RouterSnapshot, SubnetSnapshot
from astara.contract.snapshot import Route as RouteSnapshot
from astara.model.boundaries import DriverOptions, RouterWorld
from astara.model.resource import Absent, Present, ResourceKey
from astara_suites.drivers import Case, DriverSuite

DRIVER, APPLIANCE, KEY = FrrDriver(DriverOptions()), FrrAppliance(), ResourceKey("frr", "r1")
FLAVOR = {"driver": "frr", "body": "container", "image": "localhost/frr"}


def route(destination: str, nexthop: str) -> Route:
    return Route(destination=destination, nexthop=nexthop)


def network(name: str, cidr: str) -> NetworkSnapshot:
    return NetworkSnapshot(id=name, subnets=(SubnetSnapshot(id=f"{name}4", network_id=name, cidr=cidr, ip_version=4),))


def foot(name: str, address: str) -> PortSnapshot:
    return PortSnapshot(
        id=f"port-{name}",
        network_id=name,
        mac_address=f"fa:16:3e:00:00:0{name}",
        fixed_ips=(FixedIP(ip_address=address, subnet_id=f"{name}4"),),
        host="node-1",
        vif_type="bridge",
    )


def world() -> RouterWorld:
    router = RouterSnapshot(
        id="r1",
        host="node-1",
        interfaces=(foot("a", "10.1.0.1"), foot("b", "10.2.0.1")),
        routes=(
            RouteSnapshot(destination="10.9.0.0/24", nexthop="10.2.0.7"),
            RouteSnapshot(destination="10.8.0.0/24", nexthop="192.0.2.1"),
        ),
        flavor_metainfo=FLAVOR,
    )
    return RouterWorld(7, router, {one.id: one for one in (network("a", "10.1.0.0/24"), network("b", "10.2.0.0/24"))})


class TestFrr(DriverSuite):
    @pytest.fixture
    def case(self) -> Case:
        return Case(DRIVER, APPLIANCE, KEY, world())


def test_the_flavor_says_driver_body_and_image_each_for_itself() -> None:
    wish = DRIVER.desired(KEY, world())
    assert isinstance(wish, Present)
    (instance,) = wish.instances
    assert (instance.provider, instance.image) == ("container", "localhost/frr")
    assert instance.section.routes == (route("10.9.0.0/24", "10.2.0.7"),)  # type: ignore[attr-defined]


def test_a_router_of_another_flavor_is_not_its_affair() -> None:
    around = world()
    assert around.router is not None
    other = replace(around.router, flavor_metainfo={"body": "container"})
    assert isinstance(DRIVER.desired(KEY, RouterWorld(7, other, around.networks)), Absent)


@pytest.mark.parametrize(
    ("section", "field"),
    [
        (
            FrrSection(router_id="r", links=(Link(mac="m", mtu=1500, addresses=("10.0.0.300/24",)),)),
            "$.links[0].addresses",
        ),
        (FrrSection(router_id="r", routes=(route("10.0.0.0/24\nrouter bgp 1", "10.0.0.1"),)), "$.routes[0]"),
        (FrrSection(router_id="r", routes=(route("10.0.0.0/24", "fe80::1"),)), "$.routes[0]"),
    ],
)
def test_what_frr_must_not_be_told_is_refused_by_its_field(section: FrrSection, field: str) -> None:
    with pytest.raises(ContractError) as refused:
        APPLIANCE.configs(section)
    assert refused.value.field == field


def test_lines_are_frrs_own_and_sorted() -> None:
    section = FrrSection(router_id="r", routes=(route("2001:db8::/48", "fe80::1"), route("0.0.0.0/0", "10.0.0.1")))
    config = APPLIANCE.configs(section)["frr"]
    lines = FrrSubsystem().render(None, config)  # type: ignore[arg-type]
    assert lines == ("ip route 0.0.0.0/0 10.0.0.1", "ipv6 route 2001:db8::/48 fe80::1")
