"""The suite of drivers on those that come with Astara."""

from __future__ import annotations

import pytest
from msgspec import structs

from astara.contract.snapshot import NetworkSnapshot, RouterSnapshot
from astara.drivers.network.appliance import NetworkAppliance
from astara.drivers.network.driver import NetworkDriver, dhcp_device_id
from astara.drivers.router.appliance import RouterAppliance
from astara.drivers.router.driver import RouterDriver
from astara.model.boundaries import DriverOptions, NetworkWorld, RouterWorld
from astara.model.resource import ResourceKey
from astara_suites.drivers import Case, DriverSuite
from support.builders.neutron import NODE, network, port, subnet

OPTIONS = DriverOptions()
V4 = subnet("v4", "10.0.0.0/24", gateway_ip="10.0.0.1")
V6 = subnet("v6", "2001:db8:1::/64", ipv6_ra_mode="slaac", ipv6_address_mode="slaac")


def blue() -> NetworkSnapshot:
    net = network("blue", V4, V6, host=NODE)
    own = port(
        "dhcp",
        net,
        "2001:db8:1::2@v6",
        "10.0.0.2@v4",
        device_owner="network:dhcp",
        device_id=dhcp_device_id("blue", NODE),
    )
    machines = (port(f"vm{n}", net, f"10.0.0.{n}@v4", device_owner="compute:nova", device_id=f"s{n}") for n in (5, 6))
    return structs.replace(net, ports=(own, *machines))


def router() -> RouterWorld:
    nets = [network(name, subnet(name, cidr)) for name, cidr in (("a", "10.1.0.0/24"), ("b", "10.2.0.0/24"))]
    interfaces = tuple(
        port(f"if-{net.id}", net, f"10.{n}.0.1@{net.id}", device_owner="network:router_interface", device_id="r1")
        for n, net in enumerate(nets, 1)
    )
    return RouterWorld(7, RouterSnapshot(id="r1", host=NODE, interfaces=interfaces), {net.id: net for net in nets})


class TestNetworkDriver(DriverSuite):
    @pytest.fixture
    def case(self) -> Case:
        key = ResourceKey("network", "blue")
        return Case(NetworkDriver(OPTIONS), NetworkAppliance(), key, NetworkWorld(7, blue()))


class TestRouterDriver(DriverSuite):
    @pytest.fixture
    def case(self) -> Case:
        return Case(RouterDriver(OPTIONS), RouterAppliance(), ResourceKey("router", "r1"), router())
