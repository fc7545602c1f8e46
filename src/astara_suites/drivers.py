"""What every driver promises the engine (model.boundaries.Driver), and its appliance side the node agent.

from astara_suites.drivers import Case, DriverSuite

class TestMine(DriverSuite):
    @pytest.fixture
    def case(self) -> Case: ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from astara.appliance.boundaries import Appliance, Rehearsed
from astara.contract.codec import decode, digest, encode
from astara.contract.snapshot import NetworkPage, RouterPage
from astara.model.boundaries import Driver, Event, NetworkWorld, RouterWorld, World
from astara.model.resource import Absent, DesiredState, Present, ResourceKey

MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")


@dataclass(frozen=True)
class Case:
    """A driver, its appliance side, and a resource of it: `present` is a world in which it shall have an instance."""

    driver: Driver
    appliance: Appliance
    key: ResourceKey
    present: World


class DriverSuite:
    """Inherit it and return a `Case` from the fixture `case`."""

    def test_its_names_agree_and_the_operator_is_told_in_a_line_what_it_serves(self, case: Case) -> None:
        assert case.driver.name == case.appliance.name == case.key.driver
        assert 0 < len(case.driver.summary) <= 100
        assert "\n" not in case.driver.summary

    def test_an_event_that_names_nothing_concerns_nothing(self, case: Case) -> None:
        assert not list(case.driver.keys_for(Event("security_group.update.end", {})))

    def test_a_page_of_what_it_reads_names_the_resource_and_the_other_kind_nothing(self, case: Case) -> None:
        routers, networks = _pages(case.present)
        mine, other = (routers, networks) if case.driver.reads == "router" else (networks, routers)
        keys = list(case.driver.keys_in(mine))
        assert case.key in keys
        assert {key.driver for key in keys} == {case.driver.name}
        assert not list(case.driver.keys_in(other))

    def test_what_is_gone_from_neutron_gets_no_instance(self, case: Case) -> None:
        assert isinstance(case.driver.desired(case.key, _without(case.present)), Absent)

    def test_the_wish_is_the_same_whatever_the_order_of_rows(self, case: Case) -> None:
        assert _wish(case, _reversed(case.present)) == _wish(case, case.present)

    def test_every_instance_has_a_slot_of_its_own_and_the_digest_of_its_section(self, case: Case) -> None:
        instances = _wish(case, case.present).instances
        assert instances
        assert len({one.slot for one in instances}) == len(instances)
        assert all(one.digest == digest(one.section) for one in instances)

    def test_its_sections_are_what_the_node_agent_reads_and_turns_into_configurations(self, case: Case) -> None:
        for one in _wish(case, case.present).instances:
            received = decode(encode(one.section), case.appliance.section_type)
            assert received == one.section
            assert case.appliance.configs(received) == case.appliance.configs(one.section)

    def test_what_it_calls_typical_is_a_section_of_its_own_about_the_links_it_is_told(self, case: Case) -> None:
        if not isinstance(case.appliance, Rehearsed):
            pytest.skip("it has nothing to rehearse")
        section = case.appliance.typical(MACS)
        assert decode(encode(section), case.appliance.section_type) == section
        assert case.appliance.configs(section)
        assert all(mac in encode(section).decode() for mac in MACS)


def _wish(case: Case, world: World) -> Present:
    wish: DesiredState = case.driver.desired(case.key, world)
    assert isinstance(wish, Present)
    assert wish.unmet is None
    return wish


def _pages(world: World) -> tuple[RouterPage, NetworkPage]:
    match world:
        case RouterWorld(revision, router, networks):
            routers = () if router is None else (router,)
            known = tuple(networks.values())
            return RouterPage(revision=revision, routers=routers, networks=known), NetworkPage(
                revision=revision, networks=known
            )
        case NetworkWorld(revision, network):
            found = () if network is None else (network,)
            return RouterPage(revision=revision, routers=(), networks=found), NetworkPage(
                revision=revision, networks=found
            )


def _without(world: World) -> World:
    if isinstance(world, RouterWorld):
        return RouterWorld(world.revision, None, {})
    return NetworkWorld(world.revision, None)


def _reversed(world: World) -> World:
    """The same world as Neutron might list it another time."""
    if isinstance(world, RouterWorld):
        networks = {key: _turned(world.networks[key]) for key in reversed(list(world.networks))}
        return RouterWorld(world.revision, _turned(world.router), networks)
    return NetworkWorld(world.revision, _turned(world.network))


def _turned(value: Any) -> Any:
    """Reverse every list of rows; a list of plain values (resolvers, prefixes) may mean its order."""
    if isinstance(value, tuple):
        turned = tuple(_turned(one) for one in value)
        return turned[::-1] if turned and isinstance(turned[0], msgspec.Struct) else turned
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(
            value, **{name: _turned(getattr(value, name)) for name in value.__struct_fields__}
        )
    return value
