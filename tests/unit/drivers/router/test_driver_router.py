from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from astara.contract.snapshot import (
    Bandwidth,
    ConntrackHelperSnapshot,
    FloatingIPSnapshot,
    MemberSnapshot,
    NdpProxySnapshot,
    NetworkPage,
    NetworkSnapshot,
    PortForwardingSnapshot,
    Route,
    RouterPage,
    RouterSnapshot,
)
from astara.drivers.router.driver import RouterDriver
from astara.drivers.router.schema import AdvertisedPrefix, RaMode, RouterSection, Shaping
from astara.model.boundaries import DriverOptions, Event, NetworkWorld, RouterWorld
from astara.model.resource import Absent, Binding, DesiredInstance, Present, ResourceKey
from support.builders.neutron import NODE, gateway, network, port, subnet

ROUTER = "r1"
KEY = ResourceKey("router", ROUTER)
PUBLIC = network(
    "public",
    subnet("pub4", "198.51.100.0/24", gateway_ip="198.51.100.1"),
    subnet("pub6", "2001:db8:ffff::/64", gateway_ip="2001:db8:ffff::1"),
    external=True,
    network_type="flat",
    physical_network="physnet",
)
BLUE = network(
    "blue",
    subnet("blue4", "10.0.0.0/24", gateway_ip="10.0.0.1"),
    subnet(
        "blue6",
        "2001:db8:1::/64",
        ipv6_ra_mode="slaac",
        ipv6_address_mode="slaac",
        dns_nameservers=("2001:db8::53", "192.0.2.53"),
    ),
    mtu=1450,
)
GREEN = network("green", subnet("green4", "10.1.0.0/24", gateway_ip="10.1.0.1"))
NETWORKS = {net.id: net for net in (PUBLIC, BLUE, GREEN)}
BLUE4 = port("blue-if4", BLUE, "10.0.0.1@blue4")
BLUE6 = port("blue-if6", BLUE, "2001:db8:1::1@blue6")
GREEN4 = port("green-if4", GREEN, "10.1.0.1@green4")
GATEWAY = port("gw", PUBLIC, "2001:db8:ffff::9@pub6", "198.51.100.9@pub4")


def router(**fields: Any) -> RouterSnapshot:
    return RouterSnapshot(
        **{
            "id": ROUTER,
            "project_id": "p1",
            "name": "blue router",
            "host": NODE,
            "interfaces": (BLUE4, BLUE6),
            "gateways": (gateway(GATEWAY),),
        }
        | fields
    )


def present(snapshot: RouterSnapshot, networks: dict[str, NetworkSnapshot] = NETWORKS) -> Present:
    desired = RouterDriver(DriverOptions()).desired(KEY, RouterWorld(7, snapshot, networks))
    assert isinstance(desired, Present)
    return desired


def instance(snapshot: RouterSnapshot, networks: dict[str, NetworkSnapshot] = NETWORKS) -> DesiredInstance:
    (only,) = present(snapshot, networks).instances
    return only


def section(snapshot: RouterSnapshot, networks: dict[str, NetworkSnapshot] = NETWORKS) -> RouterSection:
    found = instance(snapshot, networks).section
    assert isinstance(found, RouterSection)
    return found


def test_a_router_that_neutron_does_not_know_shall_be_absent() -> None:
    assert RouterDriver(DriverOptions()).desired(KEY, RouterWorld(7, None, {})) == Absent(7)


def test_a_router_without_any_port_is_an_instance_already_so_that_its_first_interface_is_quick() -> None:
    empty = instance(router(interfaces=(), gateways=()))
    assert (empty.slot, empty.host, empty.ports) == ("0", NODE, ())


def test_a_router_without_ports_and_without_node_has_nothing_to_wait_for() -> None:
    """Neutron places it with its first port; saying DOWN meanwhile would be a write for nothing."""
    idle = present(router(host=None, interfaces=(), gateways=()))
    assert (idle.instances, idle.unmet) == ((), None)


def test_a_flavor_chooses_the_kind_of_instance() -> None:
    assert instance(router()).provider == "namespace"
    assert instance(router(flavor_metainfo={"body": "memory"})).provider == "memory"


def test_a_router_whose_flavor_names_another_driver_is_that_drivers() -> None:
    theirs = router(flavor_metainfo={"driver": "frr", "body": "container"})
    driver = RouterDriver(DriverOptions())
    assert driver.desired(KEY, RouterWorld(7, theirs, NETWORKS)) == Absent(7)
    page = RouterPage(
        revision=7, routers=(theirs, router(id="mine", flavor_metainfo={"driver": "router"})), networks=()
    )
    assert list(driver.keys_in(page)) == [ResourceKey("router", "mine")]


def test_every_port_is_attached_as_neutron_bound_it() -> None:
    by_id = {attachment.port_id: attachment for attachment in instance(router()).ports}
    assert set(by_id) == {"blue-if4", "blue-if6", "gw"}
    assert (by_id["blue-if4"].mtu, by_id["blue-if4"].attach) == (1450, "bridge")
    assert (by_id["gw"].network_type, by_id["gw"].physical_network) == ("flat", "physnet")
    on_ovs = structs.replace(BLUE4, vif_type="ovs")
    assert instance(router(interfaces=(on_ovs,), gateways=())).ports[0].attach == "ovs"


def test_without_a_node_the_router_waits_and_says_what_to_do() -> None:
    waiting = present(router(host=None))
    assert waiting.instances == ()
    assert waiting.unmet is not None
    assert "no node serves router r1" in waiting.unmet


@pytest.mark.parametrize("vif_type", ["unbound", "binding_failed", "distributed"])
def test_a_port_that_cannot_be_plugged_is_named_and_the_others_stay_in_the_wish(vif_type: str) -> None:
    waiting = present(router(interfaces=(BLUE4, structs.replace(GREEN4, vif_type=vif_type))))
    assert waiting.unmet is not None
    assert "green-if4" in waiting.unmet
    assert vif_type in waiting.unmet
    (wanted,) = waiting.instances
    assert {attachment.port_id for attachment in wanted.ports} == {"blue-if4", "gw"}
    assert isinstance(wanted.section, RouterSection)
    assert [link.port_id for link in wanted.section.internal] == ["blue-if4"]
    assert "green-if4" not in dict(waiting.status.ports)


def test_a_port_bound_to_another_node_than_its_router_waits() -> None:
    waiting = present(router(interfaces=(structs.replace(BLUE4, host="node-2"),)))
    assert waiting.unmet is not None
    assert "node-2" in waiting.unmet


def test_internal_links_carry_addresses_with_prefix_and_mtu() -> None:
    v4, v6 = section(router()).internal
    assert (v4.port_id, v4.addresses, v4.mtu) == ("blue-if4", ("10.0.0.1/24",), 1450)
    assert v6.addresses == ("2001:db8:1::1/64",)


def test_several_interfaces_on_one_network_stay_apart() -> None:
    second = port("blue-if9", BLUE, "10.0.0.254@blue4")
    links = section(router(interfaces=(BLUE4, second))).internal
    assert [(link.port_id, link.addresses) for link in links] == [
        ("blue-if4", ("10.0.0.1/24",)),
        ("blue-if9", ("10.0.0.254/24",)),
    ]


@pytest.mark.parametrize("mode", list(RaMode))
def test_each_ra_mode_is_advertised_with_ipv6_resolvers_only(mode: RaMode) -> None:
    """W24: flags by mode; no IPv4 resolver in an IPv6 advertisement."""
    blue6 = structs.replace(BLUE.subnets[1], ipv6_ra_mode=mode.value)
    blue = structs.replace(BLUE, subnets=(blue6,))
    (link,) = section(router(interfaces=(BLUE6,)), {**NETWORKS, "blue": blue}).internal
    assert link.advertise == (AdvertisedPrefix(prefix="2001:db8:1::/64", mode=mode, dns_servers=("2001:db8::53",)),)


def test_without_ra_mode_the_advertising_is_somebody_elses() -> None:
    blue = structs.replace(BLUE, subnets=(structs.replace(BLUE.subnets[1], ipv6_ra_mode=None),))
    (link,) = section(router(interfaces=(BLUE6,)), {**NETWORKS, "blue": blue}).internal
    assert link.advertise == ()


def test_an_ipv4_subnet_is_never_advertised() -> None:
    (link,) = section(router(interfaces=(BLUE4,))).internal
    assert link.advertise == ()


def test_the_gateway_has_one_next_hop_per_version_and_masquerades_as_its_ipv4_address() -> None:
    (link,) = section(router()).external
    assert link.addresses == ("198.51.100.9/24", "2001:db8:ffff::9/64")
    assert link.nexthops == ("198.51.100.1", "2001:db8:ffff::1")
    assert link.snat_v4 == "198.51.100.9"


def test_snat_can_be_off() -> None:
    (link,) = section(router(gateways=(gateway(GATEWAY, enable_snat=False),))).external
    assert link.snat_v4 is None


def test_an_ipv6_only_gateway_has_no_masquerading_and_one_next_hop() -> None:
    """W19, W20: IPv6-only outside."""
    only6 = structs.replace(GATEWAY, fixed_ips=GATEWAY.fixed_ips[:1])
    (link,) = section(router(gateways=(gateway(only6),))).external
    assert (link.snat_v4, link.nexthops) == (None, ("2001:db8:ffff::1",))


def test_an_ipv4_only_gateway_routes_no_ipv6() -> None:
    only4 = structs.replace(GATEWAY, fixed_ips=GATEWAY.fixed_ips[1:])
    found = section(router(gateways=(gateway(only4),)))
    assert (found.external[0].nexthops, found.routed_v6) == (("198.51.100.1",), ())


def test_several_gateways_keep_their_own_addresses() -> None:
    second = port("gw2", PUBLIC, "198.51.100.10@pub4")
    links = section(router(gateways=(gateway(second), gateway(GATEWAY)))).external
    assert [(link.port_id, link.snat_v4) for link in links] == [("gw", "198.51.100.9"), ("gw2", "198.51.100.10")]


def floating(identifier: str, **fields: Any) -> FloatingIPSnapshot:
    return FloatingIPSnapshot(
        **{
            "id": identifier,
            "floating_ip_address": "198.51.100.20",
            "floating_network_id": "public",
            "fixed_ip_address": "10.0.0.5",
            "port_id": "vm",
        }
        | fields
    )


def test_a_floating_ip_translates_on_the_gateway_of_its_network() -> None:
    wanted = present(router(floating_ips=(floating("f1"),)))
    (found,) = section(router(floating_ips=(floating("f1"),))).floating_ips
    assert (found.floating, found.fixed, found.external_port_id) == ("198.51.100.20", "10.0.0.5", "gw")
    assert wanted.status.floating_ips == (("f1", "DOWN"),)


@pytest.mark.parametrize(
    "unserved",
    [
        {"fixed_ip_address": None, "port_id": None},
        {"fixed_ip_address": "10.9.0.5"},
        {"floating_network_id": "another"},
    ],
)
def test_a_floating_ip_that_leads_nowhere_is_left_out_and_its_status_alone(unserved: dict[str, Any]) -> None:
    wanted = present(router(floating_ips=(floating("f1", **unserved),)))
    (only,) = wanted.instances
    assert isinstance(only.section, RouterSection)
    assert only.section.floating_ips == ()
    assert wanted.status.floating_ips == ()


def test_port_forwardings_follow_their_floating_ip_and_give_it_a_status() -> None:
    rule = PortForwardingSnapshot(
        id="pf1",
        protocol="tcp",
        external_port_first=8000,
        external_port_last=8009,
        internal_ip="10.0.0.5",
        internal_port_first=80,
        internal_port_last=89,
        internal_port_id="vm",
    )
    stray = structs.replace(rule, id="pf0", internal_ip="10.9.0.5")
    address = floating("f1", fixed_ip_address=None, port_id=None, port_forwardings=(rule, stray))
    wanted = present(router(floating_ips=(address,)))
    (found,) = section(router(floating_ips=(address,))).port_forwardings
    assert (found.id, found.floating, found.external_first, found.external_last) == ("pf1", "198.51.100.20", 8000, 8009)
    assert (found.internal, found.internal_first, found.internal_last) == ("10.0.0.5", 80, 89)
    assert wanted.status.floating_ips == (("f1", "DOWN"),)


def test_directions_of_bandwidth_limits_are_neutrons_own() -> None:
    """neutron.agent.linux.l3_tc_lib: egress of a floating IP is shaped where it leaves, matched by source."""
    limit = Bandwidth(ingress_kbps=1000, ingress_burst_kb=100, egress_kbps=2000, egress_burst_kb=200)
    shaped = Shaping(ingress_kbps=1000, ingress_burst_kb=100, egress_kbps=2000, egress_burst_kb=200)
    found = section(
        router(
            interfaces=(structs.replace(BLUE4, bandwidth=limit),),
            gateways=(gateway(GATEWAY, bandwidth=limit),),
            floating_ips=(floating("f1", bandwidth=limit),),
        )
    )
    assert (found.internal[0].shaping, found.external[0].shaping, found.floating_ips[0].shaping) == (shaped,) * 3


def test_an_empty_limit_is_no_limit() -> None:
    (link,) = section(router(gateways=(gateway(GATEWAY, bandwidth=Bandwidth()),))).external
    assert link.shaping is None


def test_routes_helpers_and_administrative_state_are_handed_over() -> None:
    found = section(
        router(
            admin_state_up=False,
            routes=(Route(destination="203.0.113.0/24", nexthop="10.0.0.9"),),
            conntrack_helpers=(ConntrackHelperSnapshot(id="h1", protocol="udp", port=69, helper="tftp"),),
        )
    )
    assert found.enabled is False
    assert [(route.destination, route.nexthop) for route in found.routes] == [("203.0.113.0/24", "10.0.0.9")]
    assert [(helper.protocol, helper.port, helper.helper) for helper in found.conntrack_helpers] == [
        ("udp", 69, "tftp")
    ]


def test_a_route_no_interface_reaches_is_named_and_everything_else_stays_in_the_wish() -> None:
    """Neutron lets it through when an interface is taken away while the route is being made."""
    reachable, lost = Route("203.0.113.0/24", "10.0.0.9"), Route("192.0.2.0/24", "10.99.0.9")
    crossed = router(routes=(lost, reachable))
    assert [route.nexthop for route in section(crossed).routes] == ["10.0.0.9"]
    assert len(section(crossed).internal) == len(section(router()).internal)
    assert "192.0.2.0/24 via 10.99.0.9" in (present(crossed).unmet or "")
    assert present(router(routes=(reachable,))).unmet is None


def test_a_port_that_cannot_be_plugged_takes_its_routes_along() -> None:
    unbound = router(
        interfaces=(structs.replace(BLUE4, vif_type="binding_failed"), BLUE6),
        routes=(Route("203.0.113.0/24", "10.0.0.9"),),
    )
    assert section(unbound).routes == ()


def test_outside_reaches_internal_ipv6_of_the_same_address_scope_only() -> None:
    assert section(router()).routed_v6 == ("2001:db8:1::/64",)
    scoped = structs.replace(BLUE, subnets=(structs.replace(BLUE.subnets[1], address_scope_id="scope"),))
    assert section(router(interfaces=(BLUE6,)), {**NETWORKS, "blue": scoped}).routed_v6 == ()


def test_links_carry_the_address_scopes_of_their_subnets() -> None:
    pool = tuple(structs.replace(subnet, address_scope_id=f"v{subnet.ip_version}") for subnet in BLUE.subnets)
    blue = structs.replace(BLUE, subnets=pool)
    scoped = section(router(interfaces=(BLUE4, BLUE6)), {**NETWORKS, "blue": blue})
    assert [(link.scope_v4, link.scope_v6) for link in scoped.internal] == [("v4", ""), ("", "v6")]
    assert [(gate.scope_v4, gate.scope_v6) for gate in scoped.external] == [("", "")]


def test_with_ndp_proxy_outside_reaches_the_proxied_addresses_only() -> None:
    proxy = NdpProxySnapshot(id="n1", ip_address="2001:db8:1::5", port_id="vm")
    found = section(router(enable_ndp_proxy=True, ndp_proxies=(proxy,)))
    assert [(entry.address, entry.external_port_id) for entry in found.ndp_proxies] == [("2001:db8:1::5", "gw")]
    assert found.routed_v6 == ("2001:db8:1::5/128",)
    assert section(router(ndp_proxies=(proxy,))).ndp_proxies == ()


def test_an_address_whose_subnet_was_deleted_meanwhile_is_left_out() -> None:
    stale = port("blue-if4", BLUE, "10.0.0.1@blue4", "10.7.0.1@deleted")
    (link,) = section(router(interfaces=(stale,))).internal
    assert link.addresses == ("10.0.0.1/24",)


def test_status_is_shown_on_the_router_and_its_ports() -> None:
    status = present(router(interfaces=(structs.replace(BLUE4, status="ACTIVE"),))).status
    assert status.routers == (("r1", "ACTIVE"),)
    assert status.ports == (("blue-if4", "ACTIVE"), ("gw", "DOWN"))


RICH = router(
    interfaces=(BLUE4, BLUE6, GREEN4),
    gateways=(gateway(GATEWAY), gateway(port("gw2", PUBLIC, "198.51.100.10@pub4"))),
    floating_ips=tuple(
        floating(f"f{n}", floating_ip_address=f"198.51.100.{20 + n}", fixed_ip_address=f"10.0.0.{5 + n}")
        for n in range(4)
    ),
    routes=tuple(Route(destination=f"203.0.113.{16 * n}/28", nexthop="10.0.0.9") for n in range(4)),
    conntrack_helpers=tuple(
        ConntrackHelperSnapshot(id=f"h{n}", protocol="udp", port=69 + n, helper="tftp") for n in range(3)
    ),
    enable_ndp_proxy=True,
    ndp_proxies=tuple(NdpProxySnapshot(id=f"n{n}", ip_address=f"2001:db8:1::{n}", port_id="vm") for n in range(2, 5)),
)


@given(st.data())
def test_the_digest_does_not_depend_on_the_order_of_rows(data: st.DataObject) -> None:
    def shuffled(rows: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(data.draw(st.permutations(rows)))

    names = ("interfaces", "gateways", "floating_ips", "routes", "conntrack_helpers", "ndp_proxies")
    mixed = structs.replace(RICH, **{name: shuffled(getattr(RICH, name)) for name in names})
    networks = {
        net.id: structs.replace(net, subnets=shuffled(net.subnets)) for net in shuffled(tuple(NETWORKS.values()))
    }
    assert present(mixed, networks) == present(RICH)


def test_a_revision_alone_changes_nothing_but_the_revision() -> None:
    driver = RouterDriver(DriverOptions())
    earlier = driver.desired(KEY, RouterWorld(7, RICH, NETWORKS))
    later = driver.desired(KEY, RouterWorld(8, RICH, NETWORKS))
    assert isinstance(earlier, Present)
    assert later == replace(earlier, revision=8)


def test_an_event_concerns_the_routers_it_names() -> None:
    driver = RouterDriver(DriverOptions())
    named = driver.keys_for(Event("router.interface.create", {"router": ("r1",), "network": ("blue",)}))
    assert list(named) == [ResourceKey("router", "r1")]
    assert list(driver.keys_for(Event("subnet.update.end", {"network": ("blue",)}))) == []


def test_a_page_names_all_its_routers() -> None:
    driver = RouterDriver(DriverOptions())
    assert list(driver.keys_in(RouterPage(revision=1, routers=(router(),), networks=()))) == [KEY]
    assert list(driver.keys_in(NetworkPage(revision=1, networks=(BLUE,)))) == []


def test_a_network_is_not_a_router() -> None:
    with pytest.raises(TypeError, match="reads routers"):
        RouterDriver(DriverOptions()).desired(KEY, NetworkWorld(1, None))


HA = network("ha", subnet("ha4", "169.254.192.0/18"), mtu=1400)
OTHER_NODE = "node-2"


def pair_of(second_host: str = OTHER_NODE) -> RouterSnapshot:
    halves = (
        port("half0", HA, "169.254.192.5@ha4"),
        port("half1", HA, "169.254.192.9@ha4", host=second_host, vif_type="bridge" if second_host else "unbound"),
    )
    hosts = (NODE, second_host)
    return router(
        ha=True,
        interfaces=(BLUE4,),
        gateways=(gateway(GATEWAY),),
        members=tuple(
            MemberSnapshot(slot=str(slot), host=host, port=half)
            for slot, (host, half) in enumerate(zip(hosts, halves, strict=True))
        ),
    )


def wish_for(snapshot: RouterSnapshot) -> Present:
    desired = RouterDriver(DriverOptions()).desired(KEY, RouterWorld(1, snapshot, NETWORKS | {HA.id: HA}))
    assert isinstance(desired, Present)
    return desired


def test_a_pair_is_two_instances_that_differ_in_how_they_speak_to_each_other_only() -> None:
    first, second = wish_for(pair_of()).instances
    assert [(one.slot, one.host) for one in (first, second)] == [("0", NODE), ("1", OTHER_NODE)]
    assert isinstance(first.section, RouterSection)
    assert isinstance(second.section, RouterSection)
    assert first.section.pair is not None
    assert second.section.pair is not None
    assert (first.section.pair.address, first.section.pair.peer) == ("169.254.192.5/18", "169.254.192.9")
    assert (second.section.pair.address, second.section.pair.peer) == ("169.254.192.9/18", "169.254.192.5")
    one, other = first.section.pair, second.section.pair
    assert one.mac != other.mac
    assert (one.peer_mac, other.peer_mac) == (other.mac, one.mac)
    assert first.section.pair.mtu == 1400
    assert structs.replace(first.section, pair=None) == structs.replace(second.section, pair=None)
    assert {one.port_id for one in first.ports} ^ {one.port_id for one in second.ports} == {"half0", "half1"}


def test_without_a_second_node_there_is_one_instance_and_a_reason() -> None:
    wish = wish_for(pair_of(second_host=""))
    (only,) = wish.instances
    assert (only.slot, only.host) == ("0", NODE)
    assert wish.unmet is not None
    assert "a second node" in wish.unmet


def test_a_router_that_becomes_a_pair_keeps_its_instance() -> None:
    alone = wish_for(structs.replace(pair_of(), ha=False, members=()))
    assert {one.slot for one in alone.instances} < {one.slot for one in wish_for(pair_of()).instances}


def test_a_pair_without_ports_for_its_halves_runs_alone_and_says_so() -> None:
    wish = wish_for(structs.replace(pair_of(), members=()))
    assert [one.slot for one in wish.instances] == ["0"]
    assert wish.unmet is not None
    assert "a pair" in wish.unmet


def test_a_pairs_ports_may_be_bound_to_either_of_its_nodes() -> None:
    """The binding follows the active half."""
    moved = structs.replace(pair_of(), interfaces=(structs.replace(BLUE4, host=OTHER_NODE),))
    assert wish_for(moved).unmet is None
    assert BLUE4.id in {one.port_id for one in wish_for(moved).instances[0].ports}


def test_a_pair_tells_where_its_ports_are_bound_and_a_lone_router_does_not() -> None:
    moved = structs.replace(pair_of(), interfaces=(structs.replace(BLUE4, host=OTHER_NODE),))
    assert wish_for(pair_of()).binding == Binding(pair_of().id, (NODE,))
    assert wish_for(moved).binding == Binding(pair_of().id, tuple(sorted((NODE, OTHER_NODE))))
    assert wish_for(structs.replace(pair_of(), ha=False, members=())).binding is None


def test_a_pair_keeps_what_it_has_while_a_port_changes_nodes() -> None:
    """Neutron first takes the port off the one node: without it the halves would forward nothing."""
    between = structs.replace(BLUE4, host=OTHER_NODE, vif_type="unbound")
    wish = wish_for(structs.replace(pair_of(), interfaces=(between,)))
    assert wish.instances == ()
    assert "is being bound" in (wish.unmet or "")


def test_halves_that_do_not_know_each_other_are_one() -> None:
    """Both would forward, with one MAC address on two nodes."""
    blind = RouterDriver(DriverOptions()).desired(KEY, RouterWorld(1, pair_of(), NETWORKS))
    assert isinstance(blind, Present)
    assert [one.slot for one in blind.instances] == ["0"]


@pytest.mark.parametrize(("said", "heard"), [("50", 50), ("", 20), ("fast", 20), ("15", 20), ("99999", 20)])
def test_a_flavor_may_say_how_often_halves_speak(said: str, heard: int) -> None:
    for one in wish_for(structs.replace(pair_of(), flavor_metainfo={"ha_advert_ms": said})).instances:
        assert isinstance(one.section, RouterSection)
        assert one.section.pair is not None
        assert one.section.pair.advert_ms == heard
