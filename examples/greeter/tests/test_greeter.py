from __future__ import annotations

import pytest
from astara_greeter.appliance import GreeterAppliance
from astara_greeter.driver import GreeterDriver

from astara.contract.snapshot import NetworkSnapshot, SubnetSnapshot
from astara.model.boundaries import DriverOptions, NetworkWorld
from astara.model.resource import Present, ResourceKey
from astara_suites.drivers import Case, DriverSuite

DRIVER, KEY = GreeterDriver(DriverOptions()), ResourceKey("greeter", "blue")


def blue(host: str | None) -> NetworkWorld:
    subnets = tuple(
        SubnetSnapshot(id=cidr, network_id="blue", cidr=cidr, ip_version=4) for cidr in ("10.0.0.0/24", "10.0.1.0/24")
    )
    return NetworkWorld(7, NetworkSnapshot(id="blue", host=host, subnets=subnets))


class TestGreeter(DriverSuite):
    @pytest.fixture
    def case(self) -> Case:
        return Case(DRIVER, GreeterAppliance(), KEY, blue("node-1"))


def test_without_a_node_it_says_what_it_waits_for() -> None:
    wish = DRIVER.desired(KEY, blue(None))
    assert isinstance(wish, Present)
    assert wish.unmet is not None
