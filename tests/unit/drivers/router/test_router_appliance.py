"""The router's appliance side: what a section becomes, and what it refuses by the name of the field."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_interface, ip_network
from typing import Any

import pytest
from msgspec.structs import replace

from astara.appliance.subsystems.conntrack.config import ForwardBinding
from astara.appliance.subsystems.gate.config import GateConfig
from astara.appliance.subsystems.nftables.config import Element, LinkOf, Span
from astara.appliance.subsystems.routes.config import HopConfig
from astara.contract.codec import ContractError
from astara.drivers.router.appliance import RouterAppliance
from astara.drivers.router.firewall import MOVED_PORTS
from astara.drivers.router.routing import LINK_TABLES
from astara.drivers.router.schema import (
    AdvertisedPrefix,
    ConntrackHelper,
    NdpProxy,
    Pair,
    RaMode,
    RouterSection,
    Shaping,
    StaticRoute,
)
from support.builders.router import external, floating, forwarding, internal

IN, OUT, OUT2, OUT3 = (f"fa:16:3e:00:00:0{number}" for number in (1, 2, 3, 4))
FLOATING, FIXED = "203.0.113.9", "10.0.0.5"


def section(**more: Any) -> RouterSection:
    plain = RouterSection(
        router_id="r",
        internal=(internal(IN, "10.0.0.1/24", "fd00:1::1/64"),),
        external=(external(OUT, "203.0.113.2/24", nexthops=("203.0.113.1",), snat="203.0.113.2"),),
    )
    return replace(plain, **more)


def configs(wish: RouterSection) -> dict[str, Any]:
    return dict(RouterAppliance().configs(wish))


def refused(wish: RouterSection) -> ContractError:
    with pytest.raises(ContractError) as error:
        configs(wish)
    return error.value


def test_a_router_serves_no_dhcp_however_many_share_its_network() -> None:
    """W33: two routers on one network both serving DHCP. Leases are its network's one instance's affair."""
    assert "dnsmasq" not in configs(section())
    assert "dnsmasq" not in configs(section(internal=(internal(IN, "10.0.0.1/24"), internal(OUT3, "10.0.0.2/24"))))


SUBSYSTEMS = {"links", "sysctl", "routes", "nftables", "traffic", "conntrack", "radvd"}


def test_every_section_has_a_config_for_every_subsystem_so_that_nothing_old_stays() -> None:
    assert set(configs(section())) == SUBSYSTEMS
    assert set(configs(RouterSection(router_id="r", enabled=False))) == SUBSYSTEMS


MALFORMED = {
    "$.internal[0].mac": section(internal=(replace(internal(IN), mac="eth0"),)),
    "$.internal[0].mtu": section(internal=(replace(internal(IN), mtu=12),)),
    "$.internal[0].addresses[0]": section(internal=(internal(IN, "10.0.0.300/24"),)),
    "$.internal[1].mac": section(internal=(internal(IN), internal(IN.upper()))),
    "$.external[0].mac": section(external=(external(IN),)),
    "$.external[0].nexthops": section(
        external=(external(OUT, "203.0.113.2/24", nexthops=("203.0.113.1", "203.0.113.3")),)
    ),
    "$.external[0].nexthops[0]": section(external=(external(OUT, nexthops=("gateway",)),)),
    "$.external[0].snat_v4": section(external=(external(OUT, snat="2001:db8::1"),)),
    "$.floating_ips[0].floating": section(floating_ips=(floating("1.2.3.4 } ; flush ruleset", FIXED, OUT),)),
    "$.floating_ips[0].fixed": section(floating_ips=(floating(FLOATING, "fd00::1", OUT),)),
    "$.floating_ips[0].external_port_id": section(floating_ips=(floating(FLOATING, FIXED, OUT2),)),
    "$.floating_ips[1].floating": section(
        floating_ips=(floating(FLOATING, FIXED, OUT), floating(FLOATING, "10.0.0.6", OUT))
    ),
    "$.floating_ips[1].fixed": section(
        floating_ips=(floating(FLOATING, FIXED, OUT), floating("203.0.113.8", FIXED, OUT))
    ),
    "$.port_forwardings[0].protocol": section(
        port_forwardings=(forwarding("gre", FLOATING, (1, 1), FIXED, (1, 1), OUT),)
    ),
    "$.port_forwardings[0].external_first": section(
        port_forwardings=(forwarding("tcp", FLOATING, (0, 0), FIXED, (0, 0), OUT),)
    ),
    "$.port_forwardings[0].internal_last": section(
        port_forwardings=(forwarding("tcp", FLOATING, (1, 9), FIXED, (1, 8), OUT),)
    ),
    "$.port_forwardings[1].external_first": section(
        port_forwardings=(
            forwarding("tcp", FLOATING, (80, 80), FIXED, (80, 80), OUT),
            forwarding("tcp", FLOATING, (80, 80), "10.0.0.6", (80, 80), OUT),
        )
    ),
    "$.routes[0].destination": section(routes=(StaticRoute(destination="here", nexthop="10.0.0.9"),)),
    "$.routes[0].nexthop": section(routes=(StaticRoute(destination="192.168.0.0/24", nexthop="172.16.0.1"),)),
    "$.conntrack_helpers[0].helper": section(
        conntrack_helpers=(ConntrackHelper(protocol="tcp", port=21, helper='x"; }'),)
    ),
    "$.conntrack_helpers[0].protocol": section(
        conntrack_helpers=(ConntrackHelper(protocol="udp", port=21, helper="ftp"),)
    ),
    "$.conntrack_helpers[0].port": section(conntrack_helpers=(ConntrackHelper(protocol="tcp", port=0, helper="ftp"),)),
    "$.ndp_proxies[0].address": section(ndp_proxies=(NdpProxy(address="10.0.0.1", external_port_id=f"port-{OUT}"),)),
    "$.routed_v6[0]": section(routed_v6=("10.0.0.0/24",)),
    "$.internal[0].advertise[0].prefix": section(
        internal=(internal(IN, "fd00:1::1/64", advertise=(AdvertisedPrefix(prefix="fd00", mode=RaMode.SLAAC),)),)
    ),
}


@pytest.mark.parametrize(("field", "wish"), MALFORMED.items(), ids=MALFORMED.keys())
def test_what_types_cannot_say_is_refused_by_field_and_never_by_value(field: str, wish: RouterSection) -> None:
    error = refused(wish)
    assert error.field == field
    assert "flush" not in str(error)
    assert error.remedy


def test_administratively_down_empties_the_sets_and_stops_forwarding_but_keeps_the_links() -> None:
    up, down = configs(section()), configs(section(enabled=False))
    assert down["nftables"].structure == up["nftables"].structure
    assert down["nftables"].elements == {}
    assert down["links"] == up["links"]
    assert dict(down["sysctl"].settings)["ipv4/ip_forward"] == "0"
    assert down["radvd"].links == ()


def test_the_structure_does_not_depend_on_what_tenants_ask_for() -> None:
    more = section(
        floating_ips=(floating(FLOATING, FIXED, OUT),),
        port_forwardings=(forwarding("tcp", FLOATING, (80, 80), "10.0.0.6", (80, 80), OUT),),
        routed_v6=("fd00:1::/64",),
    )
    assert configs(more)["nftables"].structure == configs(section())["nftables"].structure


def test_translated_addresses_live_on_their_external_link_once() -> None:
    wish = section(
        floating_ips=(floating(FLOATING, FIXED, OUT),),
        port_forwardings=(
            forwarding("tcp", "203.0.113.10", (80, 80), FIXED, (80, 80), OUT),
            forwarding("tcp", "203.0.113.10", (81, 81), FIXED, (81, 81), OUT),
        ),
    )
    _, outer = configs(wish)["links"].links
    assert outer.addresses == tuple(map(ip_interface, ("203.0.113.2/24", "203.0.113.9/32", "203.0.113.10/32")))


def test_a_link_without_ipv6_addresses_speaks_no_ipv6() -> None:
    inner, outer = configs(section())["links"].links
    assert (inner.ipv6, outer.ipv6) == (True, False)


def test_ranges_stay_ranges_when_their_numbers_do_not_change() -> None:
    same = forwarding("udp", FLOATING, (100, 60000), FIXED, (100, 60000), OUT)
    moved = forwarding("tcp", FLOATING, (10, 12), FIXED, (20, 22), OUT)
    elements = configs(section(port_forwardings=(same, moved)))["nftables"].elements
    address = IPv4Address(FLOATING)
    assert elements["forward_span"] == {Element((address, 17, Span(100, 60000)), (IPv4Address(FIXED),))}
    assert {(e.key[2], e.value[1]) for e in elements["forward_port"]} == {(10, 20), (11, 21), (12, 22)}


def test_a_moved_range_that_would_fill_the_table_is_refused_early_with_the_remedy() -> None:
    huge = forwarding("tcp", FLOATING, (1, MOVED_PORTS + 1), FIXED, (2, MOVED_PORTS + 2), OUT)
    assert "fewer" in refused(section(port_forwardings=(huge,))).remedy


def test_hairpins_without_a_floating_address_use_the_gateways_even_when_snat_is_off() -> None:
    off = section(external=(external(OUT, "203.0.113.2/24"),))
    elements = configs(off)["nftables"].elements
    assert elements["gateway_source"] == {Element((LinkOf(IN),), (IPv4Address("203.0.113.2"),))}
    assert "translating" not in elements


def test_metadata_is_asked_for_on_the_link_a_question_came_in_by_and_on_no_other() -> None:
    wish = section(internal=(internal(IN, "10.0.0.1/24"), internal(OUT2, "10.0.1.1/24"), internal(OUT3, "fd00::1/64")))
    found = configs(wish)["routes"]
    metadata = ip_network("169.254.169.254/32")
    routes = {route.table: route.hops for route in found.routes if route.destination == metadata}
    rules = {rule.mac: rule.table for rule in found.rules}
    assert set(rules) == {IN, OUT2}  # what speaks no IPv4 is asked for nothing
    assert {mac: routes[table] for mac, table in rules.items()} == {mac: (HopConfig(None, mac),) for mac in rules}


def test_one_gateway_needs_no_policy_rules_of_its_own_and_two_have_a_table_each() -> None:
    second = external(OUT2, "192.0.2.2/24", nexthops=("192.0.2.1",))
    assert {rule.mac for rule in configs(section())["routes"].rules} == {IN}
    routes = configs(section(external=(*section().external, second)))["routes"]
    assert {rule.table for rule in routes.rules if rule.mac is None} == {254, 1001, 1002}
    assert {(route.table, route.hops[0].mac) for route in routes.routes if route.table < LINK_TABLES} == {
        (254, OUT),
        (254, OUT2),
        (1001, OUT),
        (1002, OUT2),
    }


def test_routes_to_one_destination_share_their_traffic() -> None:
    wish = section(routes=tuple(StaticRoute(destination="192.168.0.0/16", nexthop=f"10.0.0.{last}") for last in (9, 8)))
    static = [route for route in configs(wish)["routes"].routes if route.destination == ip_network("192.168.0.0/16")]
    assert [len(route.hops) for route in static] == [2]


def test_neutrons_zero_means_no_limit() -> None:
    zero = Shaping(egress_kbps=0, ingress_kbps=1000, ingress_burst_kb=0)
    (limit,) = configs(section(internal=(internal(IN, "10.0.0.1/24", shaping=zero),)))["traffic"].links
    assert limit.egress is None
    assert limit.ingress.burst_kb is None


def test_bindings_name_what_connections_came_by() -> None:
    rule = forwarding("icmp", FLOATING, (0, 0), FIXED, (0, 0), OUT)
    bindings = configs(section(port_forwardings=(rule,)))["conntrack"].bindings
    assert ForwardBinding(1, IPv4Address(FLOATING), 0, 0, IPv4Address(FIXED), 0) in bindings


def test_ranges_name_a_link_only_where_links_differ() -> None:
    """A concatenation of link and prefix takes the kernel 320 to 512 KiB, however little is in it."""
    usual = external(OUT, "203.0.113.2/24", "2001:db8::2/64", nexthops=("203.0.113.1", "2001:db8::1"))
    second = external(OUT2, "192.0.2.2/24", "2001:db8:1::2/64")
    routed = ("fd00:1::/64", "fd00:9::/64")
    for gateways in ((usual,), (usual, second)):
        found = configs(section(external=gateways, routed_v6=routed))["nftables"].elements
        assert found["reachable_v6"] == {Element((ip_network(prefix),)) for prefix in routed}
        assert found["inside_v4"] == {Element((ip_network("10.0.0.0/24"),))}
        assert "reachable_v6_from" not in found
    apart = (usual, replace(second, scope_v6="blue"))
    found = configs(section(external=apart, routed_v6=routed))["nftables"].elements
    assert "reachable_v6" not in found
    assert found["reachable_v6_from"] == {
        Element((LinkOf(OUT), ip_network("fd00:1::/64"))),
        Element((LinkOf(OUT), ip_network("fd00:9::/64"))),
        Element((LinkOf(OUT2), ip_network("fd00:9::/64"))),
    }


HEART = "fa:16:3e:00:01:01"
PAIR = Pair(
    mac=HEART, port_id="h", network_id="ha", mtu=1450, address="169.254.192.5/18", peer="169.254.192.9", advert_ms=20
)


def test_half_of_a_pair_is_a_router_with_gate_election_and_its_peers_connections() -> None:
    made = configs(section(pair=PAIR))

    assert set(made) == SUBSYSTEMS | {"gate", "keepalived", "conntrackd"}
    assert made["gate"] == GateConfig(HEART, (IN, OUT), 20, yields=True)
    assert [(str(m.address), m.mac) for m in made["keepalived"].markers] == [
        ("169.254.0.1", IN),
        ("169.254.0.2", OUT),
    ]
    assert made["conntrackd"].peer == IPv4Address("169.254.192.9")
    assert ("netfilter/nf_conntrack_tcp_loose", "0") in made["sysctl"].settings
    assert made["nftables"].elements["halves"] == {Element((LinkOf(HEART), IPv4Address("169.254.192.9")))}
    assert HEART in {link.mac for link in made["links"].links}


def test_a_pair_asks_next_hops_of_either_ip_version() -> None:
    outside = external(OUT, "203.0.113.2/24", "2001:db8::2/64", nexthops=("203.0.113.1", "2001:db8::1"))
    made = configs(section(pair=PAIR, external=(outside,)))
    assert [(hop.mac, str(hop.address)) for hop in made["keepalived"].nexthops] == [
        (OUT, "203.0.113.1"),
        (OUT, "2001:db8::1"),
    ]


@pytest.mark.parametrize(("told", "known"), [("FA:16:3E:00:01:02", True), ("", False)])
def test_the_peers_mac_address_is_not_asked_for_when_it_was_told(told: str, known: bool) -> None:
    links = configs(section(pair=replace(PAIR, peer_mac=told)))["links"].links
    (heart,) = [link for link in links if link.mac == HEART]
    assert heart.neighbours == (((IPv4Address("169.254.192.9"), "fa:16:3e:00:01:02"),) if known else ())


def test_one_of_two_halves_yields_and_knows_the_other_ones_markers() -> None:
    other = replace(PAIR, address="169.254.192.9/18", peer="169.254.192.5")
    first, second = configs(section(pair=PAIR)), configs(section(pair=other))
    assert [made["gate"].yields for made in (first, second)] == [True, False]
    for made, beside in ((first, second), (second, first)):
        assert all(marker.address in made["gate"].announced for marker in made["keepalived"].markers)
        assert made["gate"].watched == beside["gate"].announced


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mac", IN),
        ("mac", "x"),
        ("mtu", 1),
        ("address", "169.254.192.5"),
        ("peer", "169.254.192.5"),
        ("peer", "10.0.0.1"),
        ("peer", "x"),
        ("peer_mac", "x"),
        ("peer_mac", HEART),
        ("advert_ms", 5),
        ("advert_ms", 25),
        ("advert_ms", 40960),
    ],
)
def test_a_bad_pair_is_refused_by_name(field: str, value: object) -> None:
    if (field, value) == ("address", "169.254.192.5"):  # read as a /32: no peer is in that
        field, named = "address", "$.pair.peer"
    else:
        named = f"$.pair.{field}"
    assert refused(section(pair=replace(PAIR, **{field: value}))).field == named
