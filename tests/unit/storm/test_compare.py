from __future__ import annotations

from dataclasses import replace

import pytest

from storm.compare import differences, differences_on
from storm.sight import SeenLink, SeenNamespace, Sight
from storm.wish import WantedDhcp, WantedLink, WantedRouter, Wish

PORT, NETWORK = "11111111-2222", "aaaaaaaa-bbbb"
HOST_END, BRIDGE = "av" + PORT[:11], "abr" + NETWORK[:11]
LINK = WantedLink(PORT, "aa:aa", NETWORK, 1450, frozenset({"10.0.0.1/24"}))
ROUTER = WantedRouter(
    id="r",
    name="r",
    up=True,
    links=(LINK,),
    routes=frozenset({("0.0.0.0/0", "10.0.0.254")}),
    floating=frozenset({("198.51.100.50", "10.0.0.7")}),
    forwards=frozenset({("198.51.100.51", "tcp", 2007, "10.0.0.7", 7)}),
    advertises=True,
)
WISH = Wish(routers=(ROUTER,), services=(), networks=frozenset({NETWORK}), hosts=frozenset())
SEEN = SeenNamespace(
    name="astara-x",
    links=(SeenLink("ap1", "aa:aa", 1450, True, frozenset({"10.0.0.1/24"})),),
    routes=ROUTER.routes,
    floating=ROUTER.floating,
    forwards=ROUTER.forwards,
    forwarding=True,
    daemons=("radvd",),
)
WORLD = Sight(namespaces=(SEEN,), plugs={HOST_END: BRIDGE}, bridges=frozenset({BRIDGE}))


def with_namespace(seen: SeenNamespace) -> Sight:
    return replace(WORLD, namespaces=(seen,))


def with_link(link: SeenLink) -> Sight:
    return with_namespace(replace(SEEN, links=(link,)))


def test_a_world_as_wished_has_no_differences() -> None:
    assert differences(WISH, WORLD) == ()


ILL = SEEN.links[0]


@pytest.mark.parametrize(
    ("world", "says"),
    [
        (replace(WORLD, namespaces=()), "no namespace has any of its links"),
        (with_link(replace(ILL, addresses=frozenset())), "lacks 10.0.0.1/24"),
        (with_link(replace(ILL, addresses=ILL.addresses | {"10.9.9.9/32"})), "has 10.9.9.9/32"),
        (with_link(replace(ILL, unusable=frozenset({"10.0.0.1/24"}))), "is not usable"),
        (with_link(replace(ILL, up=False)), "is down"),
        (with_link(replace(ILL, mtu=1500)), "MTU 1500"),
        (with_namespace(replace(SEEN, routes=frozenset())), "no route 0.0.0.0/0"),
        (with_namespace(replace(SEEN, routes=SEEN.routes | {("10.5.0.0/24", "10.0.0.3")})), "a route 10.5.0.0/24"),
        (with_namespace(replace(SEEN, floating=frozenset())), "is not translated"),
        (with_namespace(replace(SEEN, floating=SEEN.floating | {("1.2.3.4", "5.6.7.8")})), "translates"),
        (with_namespace(replace(SEEN, forwards=frozenset())), "port forwarding"),
        (with_namespace(replace(SEEN, forwarding=False)), "let nothing through"),
        (with_namespace(replace(SEEN, daemons=())), "radvd does not run"),
        (replace(WORLD, plugs={}), "plugged into nothing"),
        (replace(WORLD, plugs={HOST_END: BRIDGE, "avleftover": BRIDGE}), "avleftover"),
        (replace(WORLD, bridges=frozenset({BRIDGE, "abrleftover"})), "abrleftover is of no network"),
        (replace(WORLD, stray_daemons=("dnsmasq (pid 7)",)), "outside every instance"),
        (replace(WORLD, namespaces=(SEEN, SeenNamespace("astara-y", (replace(ILL, mac="bb:bb"),)))), "of no port"),
        (replace(WORLD, namespaces=(SEEN, SeenNamespace("astara-y", ()))), "1 namespaces without links"),
        (replace(WORLD, namespaces=(SEEN, replace(SEEN, name="astara-y"))), "in 2 namespaces"),
    ],
)
def test_each_departure_from_the_wish_is_named(world: Sight, says: str) -> None:
    found = differences(WISH, world)
    assert any(says in words for words in found), found


def test_a_router_that_is_down_must_not_forward() -> None:
    down = replace(WISH, routers=(replace(ROUTER, up=False),))
    assert any("administratively down" in words for words in differences(down, WORLD))
    assert differences(down, with_namespace(replace(SEEN, forwarding=False, floating=frozenset()))) == ()


def test_protocol_numbers_of_the_kernel_are_neutrons_names() -> None:
    numbered = replace(SEEN, forwards=frozenset({("198.51.100.51", "6", 2007, "10.0.0.7", 7)}))
    assert differences(WISH, with_namespace(numbered)) == ()


def test_a_network_with_dhcp_needs_its_server_and_may_have_the_metadata_address() -> None:
    service = WantedDhcp(NETWORK, "blue", LINK, leases_v4=True)
    served = replace(WISH, routers=(), services=(service,))
    link = replace(ILL, addresses=ILL.addresses | {"169.254.169.254/32"})
    home = SeenNamespace("astara-x", (link,), daemons=("dnsmasq",))
    assert differences(served, with_namespace(home)) == ()
    assert differences(served, with_namespace(replace(home, daemons=())))
    assert differences(served, with_namespace(replace(home, daemons=("dnsmasq", "dnsmasq"))))
    assert differences(replace(served, services=(replace(service, link=None),)), WORLD)


def test_strays_and_statuses_of_neutron_count_too() -> None:
    assert differences(replace(WISH, strays=("a",), statuses=("b",)), WORLD) == ("a", "b")


def test_on_open_vswitch_links_belong_on_the_integration_bridge() -> None:
    switched = replace(WORLD, plugs={HOST_END: "br-int"}, bridges=frozenset())
    assert differences(WISH, switched, bridged=False) == ()
    assert differences(WISH, switched)


HALF = {"n1": WantedLink("ha1-port-id-1", "aa:h1", "ha-network-id", 1450, frozenset({"169.254.192.1/18"}))}
HALF["n2"] = replace(HALF["n1"], port_id="ha2-port-id-2", mac="aa:h2", addresses=frozenset({"169.254.192.2/18"}))
PAIR = replace(WISH, routers=(replace(ROUTER, halves=HALF),), networks=frozenset({NETWORK, "ha-network-id"}))


def half(host: str, *, marked: bool = False) -> Sight:
    """One node of a pair as wished; the active half has a marker on its link besides."""
    tenant = replace(SEEN.links[0], addresses=SEEN.links[0].addresses | ({"169.254.0.1/32"} if marked else set()))
    other = SeenLink("ha", HALF[host].mac, 1450, True, HALF[host].addresses)
    home = replace(SEEN, name=f"astara-{host}", links=(tenant, other), host=host)
    bridge = "abr" + "ha-network-id"[:11]
    plugs = {HOST_END: BRIDGE, "av" + HALF[host].port_id[:11]: bridge}
    return Sight((home,), plugs, frozenset({BRIDGE, bridge}))


def test_both_halves_of_a_pair_have_everything_and_what_marks_the_active_one_is_no_difference() -> None:
    assert differences_on(PAIR, {"n1": half("n1", marked=True), "n2": half("n2")}) == ()


def test_what_one_half_lacks_is_told_with_its_node() -> None:
    ill = half("n2")
    ill = replace(ill, namespaces=(replace(ill.namespaces[0], routes=frozenset()),))
    assert differences_on(PAIR, {"n1": half("n1"), "n2": ill}) == (
        "router r (r): on n2: no route 0.0.0.0/0 via 10.0.0.254",
    )


def test_a_half_that_is_nowhere_or_on_the_others_node_is_told() -> None:
    gone = differences_on(PAIR, {"n1": half("n1"), "n2": Sight()})
    assert any("its half of n2 is in []" in words for words in gone)
    twice = replace(half("n2"), namespaces=tuple(replace(one, host="n1") for one in half("n2").namespaces))
    assert any("its half of n2" in words for words in differences_on(PAIR, {"n1": half("n1"), "n2": twice}))


def test_a_daemon_is_a_stray_only_if_it_is_one_on_every_node() -> None:
    nodes = {"n1": half("n1"), "n2": half("n2")}
    theirs = {host: replace(seen, stray_daemons=(f"radvd of {host}", "lost")) for host, seen in nodes.items()}
    assert differences_on(PAIR, theirs) == ("lost runs outside every instance",)
