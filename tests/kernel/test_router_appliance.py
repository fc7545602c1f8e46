"""What packets experience of a router: every promise of the router's configuration, by real hosts around it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from astara.appliance.system import netns
from astara.contract.agent import Outcome
from astara.drivers.router.schema import (
    ConntrackHelper,
    NdpProxy,
    RouterSection,
    Shaping,
    StaticRoute,
)
from astara.host.bodies.boundary import ApplyEngine
from support.builders.router import external, floating, forwarding, internal
from support.containers import ContainerEngine, needs_podman
from support.terrain import PATIENT_S, QUIET_S, Host, Terrain, eventually, router_engine, terrain

pytestmark = pytest.mark.kernel

GATEWAY, OUTSIDE = "203.0.113.2", "203.0.113.1"
FLOATING, SPARE = "203.0.113.9", "203.0.113.10"


@dataclass
class Site:
    """Two tenant networks, one outside network. Hosts a and b share network one, c is on network two."""

    land: Terrain
    a: Host
    b: Host
    c: Host
    outside: Host
    one: str
    two: str
    public: str

    def section(self, **more: object) -> RouterSection:
        """Return a dual-stack router with SNAT."""
        section = RouterSection(
            router_id="r",
            internal=(
                internal(self.one, "10.0.0.1/24", "fd00:1::1/64"),
                internal(self.two, "10.0.1.1/24", "fd00:2::1/64"),
            ),
            external=(
                external(
                    self.public, f"{GATEWAY}/24", "2001:db8::2/64", nexthops=(OUTSIDE, "2001:db8::1"), snat=GATEWAY
                ),
            ),
            routed_v6=("fd00:1::/64", "fd00:2::/64"),
        )
        return replace(section, **more)


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerEngine]:
    made = ContainerEngine(tmp_path_factory.mktemp("containers"))
    yield made
    made.close()


@pytest.fixture(params=["namespace", pytest.param("container", marks=[needs_podman, pytest.mark.slow])])
def body(request: pytest.FixtureRequest) -> ApplyEngine:
    """A router does the same for packets whatever its body."""
    if request.param == "namespace":
        return router_engine()
    engine: ContainerEngine = request.getfixturevalue("containers")
    return engine


@contextlib.contextmanager
def site_of(directory: Path, body: ApplyEngine) -> Iterator[Site]:
    with terrain(directory, body) as land:
        one, two, public = land.plug("one"), land.plug("two"), land.plug("pub")
        a = land.host("a", "one", "10.0.0.5/24", "fd00:1::5/64", via=("10.0.0.1", "fd00:1::1"))
        b = land.host("b", "one", "10.0.0.6/24", "fd00:1::6/64", via=("10.0.0.1", "fd00:1::1"))
        c = land.host("c", "two", "10.0.1.7/24", "fd00:2::7/64", via=("10.0.1.1", "fd00:2::1"))
        outside = land.host("out", "pub", f"{OUTSIDE}/24", "198.51.100.1/32", "2001:db8::1/64")
        outside.run("ip", "-6", "route", "add", "fd00::/16", "via", "2001:db8::2")
        yield Site(land, a, b, c, outside, one, two, public)


@pytest.fixture
def site(tmp_path: Path, body: ApplyEngine) -> Iterator[Site]:
    with site_of(tmp_path, body) as made:
        yield made


@needs_podman
def test_a_container_routes_translates_floats_and_forgets(tmp_path: Path, containers: ContainerEngine) -> None:
    """The heart of what follows; all of it is asked of containers by `make bodies`."""
    with site_of(tmp_path, containers) as site:
        for host, address in ((site.c, "10.0.1.7"), (site.c, "fd00:2::7"), (site.a, "10.0.0.5")):
            host.serve(address, 80)
        for address in ("198.51.100.1", "2001:db8::1"):
            site.outside.serve(address, 80)
        site.land.push(site.section())
        assert site.a.seen_as("10.0.1.7", 80) == "10.0.0.5"
        assert site.a.seen_as("fd00:2::7", 80) == "fd00:1::5"
        assert site.a.seen_as("198.51.100.1", 80) == GATEWAY
        assert site.a.seen_as("2001:db8::1", 80) == "fd00:1::5"
        site.land.push(site.section(floating_ips=(floating(FLOATING, "10.0.0.5", site.public),)))
        assert site.outside.reaches(FLOATING, 80)
        with site.outside.connect(FLOATING, 80) as connection:
            site.land.push(site.section())
            assert not connection.echo("still there?", timeout_s=QUIET_S)
        assert not site.outside.reaches(FLOATING, 80)


# --- forwarding and source translation -------------------------------------------------------------------------


def test_hosts_of_two_networks_see_each_other_untranslated(site: Site) -> None:
    site.land.push(site.section())
    site.c.serve("10.0.1.7", 80)
    site.c.serve("fd00:2::7", 80)
    assert site.a.seen_as("10.0.1.7", 80) == "10.0.0.5"
    assert site.a.seen_as("fd00:2::7", 80) == "fd00:1::5"


def test_outside_sees_the_gateway_address_and_ipv6_untranslated(site: Site) -> None:
    site.land.push(site.section())
    site.outside.serve("198.51.100.1", 80)
    site.outside.serve("2001:db8::1", 80)
    assert site.a.seen_as("198.51.100.1", 80) == GATEWAY
    assert site.a.seen_as("2001:db8::1", 80) == "fd00:1::5"


def test_snat_off_shows_the_tenants_own_addresses_both_ways(site: Site) -> None:
    plain = site.section()
    site.land.push(replace(plain, external=(replace(plain.external[0], snat_v4=None),)))
    site.outside.run("ip", "route", "add", "10.0.0.0/16", "via", GATEWAY)
    site.outside.serve("198.51.100.1", 80)
    site.a.serve("10.0.0.5", 80)
    assert site.a.seen_as("198.51.100.1", 80) == "10.0.0.5"
    assert site.outside.seen_as("10.0.0.5", 80) == OUTSIDE


def test_with_snat_on_outside_reaches_inside_addresses_too_when_it_knows_the_way(site: Site) -> None:
    site.land.push(site.section())
    site.outside.run("ip", "route", "add", "10.0.0.0/16", "via", GATEWAY)
    site.a.serve("10.0.0.5", 80)
    assert site.outside.seen_as("10.0.0.5", 80) == OUTSIDE
    site.outside.serve("198.51.100.1", 80)
    assert site.a.seen_as("198.51.100.1", 80) == GATEWAY


# --- address scopes ----------------------------------------------------------------------------------------------


def scoped(section: RouterSection, one: str, two: str, outside: str) -> RouterSection:
    """Put the three links into address scopes, for both IP versions; "" is no scope."""
    inner = [replace(link, scope_v4=s, scope_v6=s) for link, s in zip(section.internal, (one, two), strict=True)]
    return replace(
        section,
        internal=tuple(inner),
        external=(replace(section.external[0], scope_v4=outside, scope_v6=outside), *section.external[1:]),
    )


def test_networks_of_different_address_scopes_do_not_see_each_other(site: Site) -> None:
    site.c.serve("10.0.1.7", 80)
    site.c.serve("fd00:2::7", 80)
    for one, two, seen in (("red", "blue", False), ("red", "", False), ("red", "red", True)):
        site.land.push(scoped(site.section(), one, two, ""))
        assert site.a.reaches("10.0.1.7", 80) is seen
        assert site.a.reaches("fd00:2::7", 80) is seen


def test_within_one_address_scope_outside_sees_the_tenants_own_addresses_though_snat_is_on(site: Site) -> None:
    site.land.push(scoped(site.section(), "red", "blue", "red"))
    site.outside.run("ip", "route", "add", "10.0.0.0/16", "via", GATEWAY)
    site.outside.serve("198.51.100.1", 80)
    site.outside.serve("2001:db8::1", 80)
    for host, address in ((site.a, "10.0.0.5"), (site.a, "fd00:1::5"), (site.c, "10.0.1.7"), (site.c, "fd00:2::7")):
        host.serve(address, 80)
    assert site.a.seen_as("198.51.100.1", 80) == "10.0.0.5"
    assert site.c.seen_as("198.51.100.1", 80) == GATEWAY  # of another scope: translated, as ever
    assert site.a.reaches("2001:db8::1", 80)
    assert not site.c.reaches("2001:db8::1", 80)
    assert site.outside.reaches("10.0.0.5", 80)
    assert site.outside.reaches("fd00:1::5", 80)
    assert not site.outside.reaches("10.0.1.7", 80)
    assert not site.outside.reaches("fd00:2::7", 80)


def test_with_snat_off_another_address_scope_is_not_reached(site: Site) -> None:
    plain = scoped(site.section(), "red", "", "")
    site.land.push(replace(plain, external=(replace(plain.external[0], snat_v4=None),)))
    site.outside.run("ip", "route", "add", "10.0.0.0/16", "via", GATEWAY)
    site.outside.serve("198.51.100.1", 80)
    assert not site.a.reaches("198.51.100.1", 80)
    assert site.c.seen_as("198.51.100.1", 80) == "10.0.1.7"


@pytest.mark.parametrize("snat", [GATEWAY, None])
def test_floating_addresses_cross_address_scopes(site: Site, snat: str | None) -> None:
    plain = scoped(site.section(), "red", "blue", "green")
    gate = replace(plain.external[0], snat_v4=snat)
    both = (floating(FLOATING, "10.0.0.5", site.public), floating(SPARE, "10.0.1.7", site.public))
    site.land.push(replace(plain, external=(gate,), floating_ips=both))
    site.a.serve("10.0.0.5", 80)
    site.outside.serve("198.51.100.1", 80)
    assert site.outside.reaches(FLOATING, 80)
    assert site.a.seen_as("198.51.100.1", 80) == FLOATING
    assert site.c.seen_as(FLOATING, 80) == SPARE


def test_with_two_gateways_the_one_of_the_same_address_scope_does_not_translate(site: Site) -> None:
    second = site.land.plug("pub2")
    other = site.land.host("out2", "pub2", "192.0.2.1/24", "100.64.0.1/32")
    other.run("ip", "route", "add", "10.0.0.0/16", "via", "192.0.2.2")
    gate = external(second, "192.0.2.2/24", nexthops=("192.0.2.1",), snat="192.0.2.2", scope_v4="blue")
    section = site.section(
        external=(*site.section().external, gate),
        routes=(StaticRoute(destination="100.64.0.0/10", nexthop="192.0.2.1"),),
    )
    site.land.push(scoped(section, "red", "blue", "red"))
    site.outside.run("ip", "route", "add", "10.0.0.0/16", "via", GATEWAY)
    site.outside.serve("198.51.100.1", 80)
    other.serve("100.64.0.1", 80)
    assert site.a.seen_as("198.51.100.1", 80) == "10.0.0.5"
    assert site.c.seen_as("198.51.100.1", 80) == GATEWAY
    assert site.a.seen_as("100.64.0.1", 80) == "192.0.2.2"
    assert site.c.seen_as("100.64.0.1", 80) == "10.0.1.7"


def test_a_network_that_moves_to_another_address_scope_loses_its_connections(site: Site) -> None:
    site.land.push(site.section())
    site.c.serve("10.0.1.7", 80)
    site.c.serve("fd00:2::7", 80)
    opened = [site.a.connect(address, 80) for address in ("10.0.1.7", "fd00:2::7")]
    assert all(connection.echo("before") for connection in opened)
    site.land.push(scoped(site.section(), "", "blue", ""))
    assert [connection.echo("after", QUIET_S) for connection in opened] == [False, False]


def test_outside_reaches_routed_ipv6_prefixes_and_no_others(site: Site) -> None:
    site.land.push(site.section(routed_v6=("fd00:1::/64",)))
    site.a.serve("fd00:1::5", 80)
    site.c.serve("fd00:2::7", 80)
    assert site.outside.reaches("fd00:1::5", 80)
    assert not site.outside.reaches("fd00:2::7", 80)


def test_trap_snat_does_not_hit_the_routers_own_traffic(site: Site) -> None:
    section = site.section()
    second = replace(section.external[0], addresses=(*section.external[0].addresses, "203.0.113.3/24"))
    site.land.push(replace(section, external=(second,)))
    site.outside.serve(OUTSIDE, 80)
    site.a.serve("10.0.0.5", 80)
    router = Host(site.land, site.land.router)
    assert router.seen_as(OUTSIDE, 80, source="203.0.113.3") == "203.0.113.3"
    assert router.seen_as("10.0.0.5", 80) == "10.0.0.1"


@pytest.mark.parametrize("version", [4, 6])
def test_a_router_of_one_ip_version_serves_that_version_only(site: Site, version: int) -> None:
    whole = site.section()

    def only(addresses: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(address for address in addresses if (":" in address) == (version == 6))

    gate = whole.external[0]
    gate = replace(
        gate, addresses=only(gate.addresses), nexthops=only(gate.nexthops), snat_v4=GATEWAY if version == 4 else None
    )
    inner = tuple(replace(link, addresses=only(link.addresses)) for link in whole.internal)
    site.land.push(replace(whole, internal=inner, external=(gate,), routed_v6=whole.routed_v6 if version == 6 else ()))
    site.outside.serve("198.51.100.1", 80)
    site.outside.serve("2001:db8::1", 80)
    site.c.serve("10.0.1.7", 80)
    site.c.serve("fd00:2::7", 80)
    works = {4: ("198.51.100.1", "10.0.1.7"), 6: ("2001:db8::1", "fd00:2::7")}
    assert [site.a.reaches(address, 80) for address in works[version]] == [True, True]
    assert [site.a.reaches(address, 80) for address in works[10 - version]] == [False, False]


# --- floating addresses ------------------------------------------------------------------------------------------


def test_a_floating_address_works_in_both_directions(site: Site) -> None:
    site.land.push(site.section(floating_ips=(floating(FLOATING, "10.0.0.5", site.public),)))
    site.a.serve("10.0.0.5", 80)
    site.outside.serve("198.51.100.1", 80)
    assert site.outside.seen_as(FLOATING, 80) == OUTSIDE
    assert site.outside.pings(FLOATING)
    assert site.a.seen_as("198.51.100.1", 80) == FLOATING
    assert site.b.seen_as("198.51.100.1", 80) == GATEWAY


def test_trap_hairpin_reaches_a_neighbours_and_the_own_floating_address(site: Site) -> None:
    site.land.push(
        site.section(
            floating_ips=(floating(FLOATING, "10.0.0.5", site.public), floating(SPARE, "10.0.1.7", site.public))
        )
    )
    site.a.serve("10.0.0.5", 80)
    assert site.b.seen_as(FLOATING, 80) == GATEWAY  # same network, no floating address of its own
    assert site.c.seen_as(FLOATING, 80) == SPARE  # other network, with one of its own
    assert site.a.seen_as(FLOATING, 80) == FLOATING  # itself


def test_trap_removing_a_floating_address_cuts_its_connections_and_no_others(site: Site) -> None:
    both = (floating(FLOATING, "10.0.0.5", site.public), floating(SPARE, "10.0.1.7", site.public))
    site.land.push(site.section(floating_ips=both))
    site.a.serve("10.0.0.5", 80)
    site.c.serve("10.0.1.7", 80)
    site.outside.serve("198.51.100.1", 80)
    inbound, other = site.outside.connect(FLOATING, 80), site.outside.connect(SPARE, 80)
    outbound, plain = site.a.connect("198.51.100.1", 80), site.b.connect("198.51.100.1", 80)
    assert all(connection.echo("before") for connection in (inbound, other, outbound, plain))
    site.land.push(site.section(floating_ips=both[1:]))
    assert other.echo("after")
    assert plain.echo("after")
    assert not inbound.echo("after", QUIET_S)
    assert not outbound.echo("after", QUIET_S)
    assert not site.outside.reaches(FLOATING, 80)


def test_a_floating_address_that_moves_leads_to_the_new_host_at_once(site: Site) -> None:
    site.land.push(site.section(floating_ips=(floating(FLOATING, "10.0.0.5", site.public),)))
    for host, address in ((site.a, "10.0.0.5"), (site.b, "10.0.0.6")):
        host.serve(address, 80)
    old = site.outside.connect(FLOATING, 80)
    site.land.push(site.section(floating_ips=(floating(FLOATING, "10.0.0.6", site.public),)))
    site.outside.serve("198.51.100.1", 80)
    assert not old.echo("after", QUIET_S)
    assert site.outside.reaches(FLOATING, 80)
    assert site.b.seen_as("198.51.100.1", 80) == FLOATING
    assert site.a.seen_as("198.51.100.1", 80) == GATEWAY


def test_trap_new_addresses_are_announced_and_only_they(site: Site) -> None:
    """W25: gratuitous ARP for everything each time; and none at all for an address that moved."""
    site.land.push(site.section())
    with Listener(site.outside) as heard:
        assert eventually(lambda: heard.announced, 5)  # the first push's own announcements end after three seconds
        assert eventually(lambda: heard.quiet(2.5), 10)
        heard.announced.clear()
        site.land.push(site.section(floating_ips=(floating(FLOATING, "10.0.0.5", site.public),)))
        assert eventually(lambda: FLOATING in heard.announced, 5)
    assert heard.announced == {FLOATING}


def test_a_gateway_outside_that_is_replaced_and_says_so_is_used_at_once(site: Site) -> None:
    """Unannounced, a neighbour's new MAC address is not found for 15 s and more (RFC 4861 10, REACHABLE_TIME)."""
    site.land.push(site.section())
    site.outside.serve("198.51.100.1", 80)
    site.outside.serve("2001:db8::1", 80)
    assert site.a.reaches("198.51.100.1", 80)
    assert site.a.reaches("2001:db8::1", 80)
    site.outside.run("sysctl", "-qw", "net.ipv4.conf.eth0.arp_notify=1", "net.ipv6.conf.eth0.ndisc_notify=1")
    site.outside.run("ip", "link", "set", "eth0", "address", "02:00:00:00:00:99")
    assert eventually(lambda: site.a.reaches("198.51.100.1", 80), 5)
    assert eventually(lambda: site.a.reaches("2001:db8::1", 80), 5)


class Listener:
    """Collects addresses announced by gratuitous ARP on a host's link, requests and replies alike."""

    def __init__(self, host: Host) -> None:
        with netns.entered(host.place):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
            self._socket.bind(("eth0", 0x0806))
        self._socket.settimeout(0.2)
        self.announced: set[str] = set()
        self._last = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def _listen(self) -> None:
        while not self._done.is_set():
            try:
                frame = self._socket.recv(2048)
            except TimeoutError:
                continue
            sender, target = frame[28:32], frame[38:42]
            if sender == target:
                self.announced.add(socket.inet_ntoa(sender))
                self._last = time.monotonic()

    def quiet(self, seconds: float) -> bool:
        return time.monotonic() - self._last > seconds

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._socket.close()


# --- port forwardings --------------------------------------------------------------------------------------------


def test_port_forwardings_single_moved_and_as_ranges(site: Site) -> None:
    site.land.push(
        site.section(
            port_forwardings=(
                forwarding("tcp", SPARE, (80, 80), "10.0.0.5", (8080, 8080), site.public),
                forwarding("tcp", SPARE, (1000, 1010), "10.0.0.5", (1000, 1010), site.public),
                forwarding("tcp", SPARE, (2000, 2003), "10.0.0.6", (3000, 3003), site.public),
            )
        )
    )
    for host, address, port in (
        (site.a, "10.0.0.5", 8080),
        (site.a, "10.0.0.5", 1010),
        (site.b, "10.0.0.6", 3002),
        (site.a, "10.0.0.5", 1011),
    ):
        host.serve(address, port)
    assert site.outside.reaches(SPARE, 80)
    assert site.outside.reaches(SPARE, 1010)
    assert site.outside.reaches(SPARE, 2002)
    assert not site.outside.reaches(SPARE, 1011)
    assert site.b.reaches(SPARE, 80)  # hairpin, same network
    assert site.c.reaches(SPARE, 80)  # hairpin, other network


def test_removing_a_port_forwarding_cuts_its_connections_and_no_others(site: Site) -> None:
    rules = (
        forwarding("tcp", SPARE, (80, 80), "10.0.0.5", (8080, 8080), site.public),
        forwarding("tcp", SPARE, (81, 81), "10.0.0.5", (8080, 8080), site.public),
    )
    site.land.push(site.section(port_forwardings=rules))
    site.a.serve("10.0.0.5", 8080)
    gone, kept = site.outside.connect(SPARE, 80), site.outside.connect(SPARE, 81)
    site.land.push(site.section(port_forwardings=rules[1:]))
    assert kept.echo("after")
    assert not gone.echo("after", QUIET_S)


def test_icmp_forwarding_leads_echo_to_the_host(site: Site) -> None:
    site.land.push(site.section(port_forwardings=(forwarding("icmp", SPARE, (0, 0), "10.0.0.5", (0, 0), site.public),)))
    assert site.outside.pings(SPARE)
    site.a.run("ip", "link", "set", "eth0", "down")
    assert not site.outside.pings(SPARE)


# --- routes ------------------------------------------------------------------------------------------------------


def test_extra_routes_lead_through_a_tenants_own_router(site: Site) -> None:
    site.a.run("ip", "addr", "add", "192.168.7.1/32", "dev", "lo")
    site.a.run("ip", "addr", "add", "fd07::1/128", "dev", "lo")
    site.a.serve("192.168.7.1", 80)
    site.a.serve("fd07::1", 80)
    routes = (
        StaticRoute(destination="192.168.7.0/24", nexthop="10.0.0.5"),
        StaticRoute(destination="fd07::/64", nexthop="fd00:1::5"),
    )
    site.land.push(site.section(routes=routes))
    assert site.c.reaches("192.168.7.1", 80)
    assert site.c.reaches("fd07::1", 80)
    site.land.push(site.section())
    assert not site.c.reaches("192.168.7.1", 80)


def test_a_nexthop_outside_of_the_gateways_subnet_is_used(site: Site) -> None:
    site.outside.run("ip", "addr", "add", "192.0.2.1/32", "dev", "eth0")
    gate = replace(site.section().external[0], nexthops=("192.0.2.1",))
    site.land.push(site.section(external=(gate,)))
    site.outside.serve("198.51.100.1", 80)
    assert site.a.reaches("198.51.100.1", 80)


def test_two_interfaces_on_one_network_each_answer_for_their_own_address(site: Site) -> None:
    twin = site.land.plug("one")
    site.land.push(site.section(internal=(*site.section().internal, internal(twin, "10.0.5.1/24"))))
    neighbour = site.land.host("d", "one", "10.0.5.9/24", via=("10.0.5.1",))
    site.c.serve("10.0.1.7", 80)
    assert neighbour.reaches("10.0.1.7", 80)
    assert site.a.reaches("10.0.1.7", 80)
    seen = neighbour.run("ip", "neigh", "show", "10.0.5.1")
    assert twin in seen


def test_an_address_of_one_link_is_not_answered_for_on_another(site: Site) -> None:
    """Trap W33: with two links on one network a host would learn either's MAC address for both, as it happens."""
    twin = site.land.plug("one")
    site.land.push(site.section(internal=(*site.section().internal, internal(twin, "10.0.5.1/24"))))
    asking = ("arping", "-c", "3", "-w", "4", "-I", "eth0")
    own = site.a.run(*asking, "10.0.0.1").lower()
    assert site.one in own
    assert twin not in own
    with pytest.raises(RuntimeError, match=r"100%|Received 0|0 response"):  # another network's address is nobody's here
        site.a.run(*asking, "10.0.1.1")


def test_with_two_gateways_replies_leave_where_the_connection_came_in(site: Site) -> None:
    second = site.land.plug("pub2")
    other = site.land.host("out2", "pub2", "192.0.2.1/24", "2001:db8:2::1/64")
    gates = (
        site.section().external[0],
        external(second, "192.0.2.2/24", "2001:db8:2::2/64", nexthops=("192.0.2.1", "2001:db8:2::1"), snat="192.0.2.2"),
    )
    other.run("ip", "addr", "add", "100.64.0.1/32", "dev", "lo")
    other.run("ip", "addr", "add", "2001:db8:ff::1/128", "dev", "lo")
    other.run("ip", "-6", "route", "add", "fd00::/16", "via", "2001:db8:2::2")
    site.land.push(site.section(external=gates, floating_ips=(floating("192.0.2.9", "10.0.0.5", second),)))
    site.a.serve("10.0.0.5", 80)
    site.a.serve("fd00:1::5", 80)
    site.outside.serve("198.51.100.1", 80)
    other.serve("100.64.0.1", 80)
    # 100.64.0.1 is known to nobody but the second gateway's side: only the way it came in leads back.
    assert other.seen_as("192.0.2.9", 80, source="100.64.0.1") == "100.64.0.1"
    assert other.seen_as("fd00:1::5", 80, source="2001:db8:ff::1") == "2001:db8:ff::1"
    assert site.a.seen_as("100.64.0.1", 80) == "192.0.2.9"  # its floating address is there, so it leaves there
    assert site.b.seen_as("198.51.100.1", 80) == GATEWAY  # everything else by the first


def test_ndp_proxy_answers_on_the_external_link_for_these_addresses(site: Site) -> None:
    one = ("2001:db8:0:0:5::1/80",)
    section = site.section(
        internal=(internal(site.one, "10.0.0.1/24", *one),),
        routed_v6=(),
        ndp_proxies=(NdpProxy(address="2001:db8:0:0:5::5", external_port_id=f"port-{site.public}"),),
    )
    site.a.run("ip", "addr", "add", "2001:db8:0:0:5::5/80", "dev", "eth0", "nodad")
    site.a.run("ip", "-6", "route", "replace", "default", "via", "2001:db8:0:0:5::1")
    site.a.run("ip", "addr", "add", "2001:db8:0:0:5::6/80", "dev", "eth0", "nodad")
    site.land.push(section)
    site.a.serve("2001:db8:0:0:5::5", 80)
    site.a.serve("2001:db8:0:0:5::6", 80)
    assert site.outside.reaches("2001:db8:0:0:5::5", 80)
    assert not site.outside.reaches("2001:db8:0:0:5::6", 80)


def test_a_router_that_loses_ipv6_and_gets_it_back_serves_what_is_left_each_time(site: Site) -> None:
    proxy = NdpProxy(address="fd00:1::5", external_port_id=f"port-{site.public}")
    both = site.section(ndp_proxies=(proxy,))

    def four(addresses: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(address for address in addresses if ":" not in address)

    inner = tuple(replace(link, addresses=four(link.addresses)) for link in both.internal)
    outer = replace(both.external[0], addresses=four(both.external[0].addresses), nexthops=(OUTSIDE,))
    only = replace(both, internal=inner, external=(outer,), routed_v6=(), ndp_proxies=())
    site.c.serve("10.0.1.7", 80)
    site.c.serve("fd00:2::7", 80)
    for section, six in ((both, True), (only, False), (both, True)):
        assert site.land.push(section).outcome is Outcome.APPLIED
        assert site.a.reaches("10.0.1.7", 80)
        assert site.a.reaches("fd00:2::7", 80) is six


# --- wishes that become narrower -----------------------------------------------------------------------------------


def test_an_ipv6_prefix_that_is_no_longer_routed_ends_what_outside_opened_and_nothing_else(site: Site) -> None:
    """Whoever speaks next: what the inner end still sends must not open the connection again."""
    both = ("fd00:1::/64", "fd00:2::/64")
    site.land.push(site.section(routed_v6=both))
    for host, address in ((site.c, "fd00:2::7"), (site.outside, "2001:db8::1")):
        host.serve(address, 80)
    with Talker(site.a, "fd00:1::5") as talker:
        ended = talker.visited_by(site.outside)
        kept, outward = site.outside.connect("fd00:2::7", 80), site.a.connect("2001:db8::1", 80)
        assert talker.is_heard(ended)
        site.land.push(site.section(routed_v6=both[1:]))
        assert kept.echo("after")
        assert outward.echo("after")
        assert not talker.is_heard(ended, QUIET_S)
        ended.sendall(b"from outside")
        assert not talker.is_heard(ended, QUIET_S)


def test_snat_switched_on_ends_connections_that_leave_untranslated(site: Site) -> None:
    plain = site.section()
    site.land.push(replace(plain, external=(replace(plain.external[0], snat_v4=None),)))
    site.outside.run("ip", "route", "add", "10.0.0.0/16", "via", GATEWAY)
    for host, address in ((site.outside, "198.51.100.1"), (site.outside, "2001:db8::1"), (site.c, "10.0.1.7")):
        host.serve(address, 80)
    shown, six, inner = (site.a.connect(address, 80) for address in ("198.51.100.1", "2001:db8::1", "10.0.1.7"))
    assert shown.seen_as == "10.0.0.5"
    site.land.push(plain)
    assert six.echo("after")
    assert inner.echo("after")
    assert not shown.echo("after", QUIET_S)
    assert site.a.seen_as("198.51.100.1", 80) == GATEWAY


def test_a_removed_interfaces_connections_do_not_leave_by_the_gateway_instead(site: Site) -> None:
    whole = site.section()
    site.land.push(whole)
    site.outside.run("ip", "addr", "add", "10.0.1.7/32", "dev", "lo")
    with netns.entered(site.a.place), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.bind(("10.0.0.5", 4000))
        with Sniffer(site.c) as inside:
            assert eventually(lambda: wire.sendto(b"x", ("10.0.1.7", 9)) and inside.sources, 3)
        site.land.push(replace(whole, internal=whole.internal[:1], routed_v6=whole.routed_v6[:1]))
        with Sniffer(site.outside) as seen:
            assert eventually(lambda: wire.sendto(b"x", ("10.0.1.7", 9)) and seen.sources, 3)
    assert seen.sources == {GATEWAY}


class Talker:
    """A server on port 80 of an IPv6 host that speaks first."""

    def __init__(self, host: Host, address: str) -> None:
        self._address = address
        with netns.entered(host.place):
            self._listener = socket.create_server((address, 80), family=socket.AF_INET6)
        self._listener.settimeout(PATIENT_S)
        self._near: socket.socket | None = None
        self._far: socket.socket | None = None

    def visited_by(self, host: Host) -> socket.socket:
        with netns.entered(host.place):
            far = socket.create_connection((self._address, 80), timeout=PATIENT_S)
        self._near, _ = self._listener.accept()
        self._far = far
        return far

    def is_heard(self, far: socket.socket, timeout_s: float = PATIENT_S) -> bool:
        assert self._near is not None
        self._near.sendall(b"hear me")
        far.settimeout(timeout_s)
        try:
            return bool(far.recv(100))
        except OSError:
            return False

    def __enter__(self) -> Talker:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in (self._listener, self._near, self._far):
            if opened is not None:
                opened.close()


# --- the filter --------------------------------------------------------------------------------------------------


def test_nothing_but_echo_reaches_the_router_itself(site: Site) -> None:
    site.land.push(site.section(floating_ips=(floating(FLOATING, "10.0.0.5", site.public),)))
    router = Host(site.land, site.land.router)
    router.serve("0.0.0.0", 8080)
    router.serve("::", 8081)
    assert not site.a.reaches("10.0.0.1", 8080)
    assert not site.a.reaches("fd00:1::1", 8081)
    assert not site.outside.reaches(GATEWAY, 8080)
    assert not site.outside.reaches("2001:db8::2", 8081)
    for host, address in ((site.a, "10.0.0.1"), (site.a, "fd00:1::1"), (site.outside, GATEWAY)):
        assert host.pings(address)


def test_a_source_that_belongs_inside_does_not_come_from_outside(site: Site) -> None:
    plain = site.section()
    site.land.push(replace(plain, external=(replace(plain.external[0], snat_v4=None),)))
    site.outside.run("ip", "route", "add", "10.0.0.0/16", "via", GATEWAY)
    with Sniffer(site.a) as seen:
        send_udp(site.outside, "10.0.0.5", OUTSIDE)
        assert eventually(lambda: OUTSIDE in seen.sources, 3)
        site.outside.run("ip", "addr", "add", "10.0.1.99/32", "dev", "lo")
        send_udp(site.outside, "10.0.0.5", "10.0.1.99")
        send_udp(site.outside, "10.0.0.5", "198.51.100.1")
        assert eventually(lambda: "198.51.100.1" in seen.sources, 3)
    assert "10.0.1.99" not in seen.sources


def test_link_local_destinations_do_not_leave_by_the_gateway(site: Site) -> None:
    """Out there 169.254.169.254 is the metadata service of the machines this cloud runs on."""
    site.land.push(site.section())
    site.outside.run("ip", "addr", "add", "169.254.169.254/32", "dev", "lo")
    site.outside.serve("169.254.169.254", 80)
    site.outside.serve(OUTSIDE, 80)
    assert site.a.reaches(OUTSIDE, 80)
    assert not site.a.reaches("169.254.169.254", 80)
    assert not site.c.reaches("169.254.169.254", 80)


class Sniffer:
    """Collects the sources of datagrams to port 9 of a host."""

    def __init__(self, host: Host) -> None:
        with netns.entered(host.place):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.bind(("0.0.0.0", 9))
        self._socket.settimeout(0.1)
        self.sources: set[str] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def _listen(self) -> None:
        while not self._done.is_set():
            try:
                self.sources.add(self._socket.recvfrom(100)[1][0])
            except TimeoutError:
                continue

    def __enter__(self) -> Sniffer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._socket.close()


def send_udp(host: Host, address: str, source: str) -> None:
    with netns.entered(host.place), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.bind((source, 0))
        wire.sendto(b"x", (address, 9))


def test_administratively_down_forwards_nothing_and_comes_back(site: Site) -> None:
    whole = site.section(floating_ips=(floating(FLOATING, "10.0.0.5", site.public),))
    site.land.push(whole)
    site.a.serve("10.0.0.5", 80)
    site.c.serve("10.0.1.7", 80)
    open_one = site.outside.connect(FLOATING, 80)
    assert open_one.echo("before")
    site.land.push(replace(whole, enabled=False))
    assert not open_one.echo("after", QUIET_S)
    assert not site.outside.reaches(FLOATING, 80)
    assert not site.a.reaches("10.0.1.7", 80)
    assert not site.a.pings("10.0.0.1")
    site.land.push(whole)
    assert site.outside.reaches(FLOATING, 80)
    assert site.a.reaches("10.0.1.7", 80)


# --- helpers and limits ------------------------------------------------------------------------------------------


def test_a_conntrack_helper_lets_active_ftp_through_snat(site: Site) -> None:
    control_port = 2121
    site.land.push(site.section(conntrack_helpers=(ConntrackHelper(protocol="tcp", port=control_port, helper="ftp"),)))
    assert active_ftp(site, control_port) == b"data"


def test_without_the_helper_active_ftp_fails(site: Site) -> None:
    site.land.push(site.section())
    assert active_ftp(site, 2121) is None


def active_ftp(site: Site, control_port: int) -> bytes | None:
    """Speak the one command that matters (RFC 959 PORT): the server connects back to what the client names."""
    with netns.entered(site.outside.place):
        control = socket.create_server(("198.51.100.1", control_port))
    with netns.entered(site.a.place):
        data = socket.create_server(("10.0.0.5", 0))
        client = socket.create_connection(("198.51.100.1", control_port), timeout=3)
    data.settimeout(1)
    served, _ = control.accept()
    try:
        high, low = divmod(data.getsockname()[1], 256)
        client.sendall(b"USER anonymous\r\n")  # the helper reads from the first whole line on
        served.recv(100)
        client.sendall(f"PORT 10,0,0,5,{high},{low}\r\n".encode())
        numbers = served.recv(100).decode().split()[1].split(",")
        address, port = ".".join(numbers[:4]), int(numbers[4]) * 256 + int(numbers[5])
        with netns.entered(site.outside.place), socket.socket() as back:
            back.settimeout(1)
            back.bind(("198.51.100.1", 0))
            back.connect((address, port))
            back.sendall(b"data")
            accepted, _ = data.accept()
            with accepted:
                return accepted.recv(10)
    except OSError:
        return None
    finally:
        for opened in (control, data, client, served):
            opened.close()


@pytest.mark.parametrize("direction", ["egress", "ingress"])
@pytest.mark.parametrize("what", ["gateway", "floating"])
def test_bandwidth_limits_hold_in_each_direction(site: Site, direction: str, what: str) -> None:
    """8 Mbit/s with a small burst: a megabyte takes a second; the other direction and other hosts are free."""
    shaping = Shaping(**{f"{direction}_kbps": 8000, f"{direction}_burst_kb": 800})
    gate = site.section().external[0]
    limited = floating(FLOATING, "10.0.0.5", site.public, shaping=shaping if what == "floating" else None)
    section = site.section(
        external=(replace(gate, shaping=shaping if what == "gateway" else None),),
        floating_ips=(limited,) if what == "floating" else (),
    )
    site.land.push(section)
    slow, fast = (
        transfer(site.a, site.outside, upload=direction == "egress"),
        transfer(site.a, site.outside, upload=direction != "egress"),
    )
    assert 0.6 < slow < 2.5
    assert fast < 0.5
    if what == "floating":
        assert transfer(site.b, site.outside, upload=direction == "egress") < 0.5


def transfer(host: Host, outside: Host, *, upload: bool, size: int = 1_000_000) -> float:
    """Return the seconds one megabyte takes from host to outside, or back."""
    with netns.entered(outside.place):
        listener = socket.create_server(("198.51.100.1", 0))
    with netns.entered(host.place):
        near = socket.create_connection(listener.getsockname(), timeout=5)
    far, _ = listener.accept()
    sender, receiver = (near, far) if upload else (far, near)
    for opened in (near, far):
        opened.settimeout(10)
    writer = threading.Thread(target=sender.sendall, args=(bytes(size),))
    began = time.monotonic()
    writer.start()
    got = 0
    while got < size:
        got += len(receiver.recv(65536))
    took = time.monotonic() - began
    writer.join()
    for opened in (near, far, listener):
        opened.close()
    return took
