"""The pure comparisons of the kernel subsystems: equal means no change, and one change stays one change."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network

from astara.appliance.subsystems.links import plan as links_plan
from astara.appliance.subsystems.links.config import LinkConfig, LinksConfig
from astara.appliance.subsystems.routes import plan as routes_plan
from astara.appliance.subsystems.routes.config import HopConfig, RouteConfig, RoutesConfig, RuleConfig
from astara.appliance.subsystems.traffic import plan as traffic_plan
from astara.appliance.subsystems.traffic.config import HostLimit, LinkLimit, Rate, TrafficConfig
from astara.appliance.system import fib
from astara.appliance.system.fib import Hop, Route, Rule
from astara.appliance.system.rtnetlink import Address, Link, Neighbour, add_neighbour, delete_neighbour

MAC = "fa:16:3e:00:00:01"
LINK = Link(index=3, name="whatever0", mac=MAC, mtu=1500, up=True, kind="veth", alias="")
WISH = LinksConfig((LinkConfig(MAC, 1500, (ip_interface("10.0.0.1/24"),), ipv6=False),))
SETTINGS = dict(links_plan.link_settings(LINK.name, ipv6=False, proxy=False))


def world(*addresses: Address, link: Link = LINK) -> links_plan.World:
    return links_plan.World({link.mac: link}, addresses, (), SETTINGS.get)


def address(text: str, *, ours: bool = True) -> Address:
    return Address(LINK.index, ip_interface(text), permanent=True, tentative=False, ours=ours)


def test_links_that_are_as_wanted_are_left_alone() -> None:
    plan = links_plan.changes(WISH, world(address("10.0.0.1/24")))
    assert (plan.details, plan.requests, plan.settings) == ([], [], [])


def test_a_link_is_found_by_mac_whatever_its_name() -> None:
    """W17, W18: picked by name suffix or order; `eth0@if5` not recognised."""
    renamed = replace(LINK, name="eth0@if5")
    assert links_plan.missing(WISH, world(link=renamed).links) == []
    assert links_plan.missing(LinksConfig((LinkConfig("fa:16:3e:00:00:99", 1500),)), world().links)


def test_only_new_addresses_are_announced() -> None:
    wish = LinksConfig((replace(WISH.links[0], addresses=(*WISH.links[0].addresses, ip_interface("10.0.0.2/32"))),))
    plan = links_plan.changes(wish, world(address("10.0.0.1/24")))
    assert [interface for _, interface in plan.announce] == [ip_interface("10.0.0.2/32")]


def test_addresses_somebody_else_added_stay() -> None:
    plan = links_plan.changes(WISH, world(address("10.0.0.1/24"), address("10.9.9.9/32", ours=False)))
    assert plan.requests == []


def test_a_neighbour_that_is_told_replaces_what_was_told_before() -> None:
    def told(number: int, mac: str = "fa:16:3e:00:01:02") -> Neighbour:
        return Neighbour(LINK.index, IPv4Address(f"169.254.192.{number}"), mac)

    wish = LinksConfig((replace(WISH.links[0], neighbours=((told(2).address, told(2).mac),)),))
    there = world(address("10.0.0.1/24"))
    assert links_plan.changes(wish, replace(there, neighbours=(told(2),))).details == []
    assert links_plan.changes(wish, replace(there, neighbours=(told(2, "fa:16:3e:00:01:09"), told(3)))).requests == [
        add_neighbour(told(2)),
        delete_neighbour(told(3)),
    ]
    assert links_plan.changes(WISH, replace(there, neighbours=(told(3),))).details == []


def test_a_route_is_the_same_whatever_link_the_kernel_chose_unless_one_was_named() -> None:
    network, gateway = ip_network("192.168.0.0/16"), ip_address("10.0.0.9")
    found = [Route(network, (Hop(gateway, 3),), 10)]
    anywhere = RoutesConfig((RouteConfig(network, (HopConfig(gateway),), 10),))
    elsewhere = RoutesConfig((RouteConfig(network, (HopConfig(gateway, MAC),), 10),))
    assert routes_plan.changes(anywhere, {MAC: LINK}, found, ()).requests == []
    assert routes_plan.changes(elsewhere, {MAC: replace(LINK, index=4)}, found, ()).details


def test_a_rule_by_link_leaves_before_its_table_becomes_another_links() -> None:
    """In between, what came in by one link must not be sent where the other one's packets go."""
    there, other = "fa:16:3e:00:00:07", replace(LINK, index=7, name="whatever1")
    metadata = ip_network("169.254.169.254/32")
    found = Route(metadata, (Hop(None, LINK.index),), 100, 2000), Rule(4, 99, 2000, link=LINK.name)
    wish = RoutesConfig(
        (RouteConfig(metadata, (HopConfig(None, there),), 100, 2000),), (RuleConfig(4, 99, 2000, mac=there),)
    )
    links = {MAC: LINK, there: other}
    assert routes_plan.changes(wish, links, found[:1], found[1:]).requests == [
        fib.delete_rule(found[1]),
        fib.add_route(replace(found[0], hops=(Hop(None, 7),))),
        fib.add_rule(replace(found[1], link="whatever1")),
    ]


def test_one_more_limited_host_does_not_renumber_the_others() -> None:
    def limits(*hosts: str) -> TrafficConfig:
        return TrafficConfig(
            (LinkLimit(MAC, hosts=tuple(HostLimit(IPv4Address(h), egress=Rate(1000)) for h in hosts)),)
        )

    empty = traffic_plan.World({MAC: LINK}, {}, (), lambda _: {}, lambda *_: ())
    one = traffic_plan.changes(limits("203.0.113.9"), empty)
    two = traffic_plan.changes(limits("203.0.113.9", "203.0.113.3"), empty)
    assert set(one.requests) <= set(two.requests)
