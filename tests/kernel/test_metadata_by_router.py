"""Guests that were configured by hand and have only a default route ask their router for metadata."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from astara.appliance.system import netns
from astara.contract.agent import Health
from astara.drivers.network.schema import AddressMode, ServedSubnet
from astara.drivers.router.schema import RouterSection
from support.builders.router import external, internal
from support.segment import SERVER_MAC, Machine, ip
from support.served_network import A, B, Network, served_network, server
from support.terrain import PATIENT_S, QUIET_S, Terrain, terrain

pytestmark = pytest.mark.kernel

OUTSIDE = "203.0.113.1"
R1, R2 = "fa:16:3e:00:01:01", "fa:16:3e:00:02:01"
ONE, TWO, FORGER, STRANGER = "10.1.0.5", "10.2.0.5", "10.2.0.9", "10.1.0.77"
#: What arrives at all, by whom it says it is from.
_COUNTS = """table inet counts {{
  chain input {{
    type filter hook prerouting priority -400;
    ip daddr 169.254.169.254 ip saddr {source} counter
  }}
}}"""


class Site:
    """A router with networks one (10.1.0.0/24) and two (10.2.0.0/24), each with its instance; .5 is a server.

    Guests were configured by hand: an address and a default route. They take no hint of a shorter way.
    """

    def __init__(self, land: Terrain, one: Network, two: Network) -> None:
        self.land, self.one, self.two = land, one, two
        for network, link, mac in ((one, "r1", R1), (two, "r2", R2)):
            network.lan.plug(land.router, link, mac)
        one.push(server(A, ONE), addresses=("10.1.0.2/24",), subnets=(_subnet(1),))
        two.push(server(A, TWO), addresses=("10.2.0.2/24",), subnets=(_subnet(2),))
        self.public = land.plug("pub")
        outside = land.host("out", "pub", f"{OUTSIDE}/24", "169.254.169.254/32")
        outside.serve("169.254.169.254", 80)
        self.in_one, self.in_two = _guest(one, A, ONE), _guest(two, A, TWO)
        self.stranger, self.forger = _guest(one, B, STRANGER), _guest(two, B, FORGER)
        self.forger.run("ip", "addr", "add", f"{ONE}/32", "dev", "lo")

    def section(self) -> RouterSection:
        gateway = external(self.public, "203.0.113.2/24", nexthops=(OUTSIDE,), snat="203.0.113.2")
        links = (internal(R1, "10.1.0.1/24"), internal(R2, "10.2.0.1/24"))
        return RouterSection(router_id="r", internal=links, external=(gateway,))


def _subnet(number: int) -> ServedSubnet:
    net = f"10.{number}.0"
    return ServedSubnet(id="v4", cidr=f"{net}.0/24", address=f"{net}.2", mode=AddressMode.DHCPV4, gateway=f"{net}.1")


def _guest(network: Network, mac: str, address: str) -> Machine:
    made = network.lan.machine(mac)
    made.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
    made.run("ip", "route", "add", "default", "via", address.rpartition(".")[0] + ".1")
    for link in ("all", "eth0"):
        made.sysctl(f"net.ipv4.conf.{link}.accept_redirects", "0")
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        one, two = (stack.enter_context(served_network(tmp_path_factory.mktemp(name))) for name in ("one", "two"))
        yield Site(stack.enter_context(terrain(tmp_path_factory.mktemp("router"))), one, two)


@pytest.fixture
def site(made: Site) -> Site:
    """The site with its router as it should be."""
    made.land.push(made.section())
    return made


def asks(machine: Machine, source: str, path: str = "/latest", *, within_s: float = PATIENT_S) -> str | None:
    """Return as whom the guest is answered, "" for nobody, None when there is no answer."""
    try:
        with netns.entered(Path("/run/netns") / machine.netns):
            made = socket.create_connection(("169.254.169.254", 80), within_s, source_address=(source, 0))
    except OSError:
        return None
    with made:
        made.sendall(f"GET {path} HTTP/1.1\r\nHost: metadata\r\nConnection: close\r\n\r\n".encode())
        said = b"".join(iter(lambda: made.recv(65536), b"")).partition(b"\r\n\r\n")[2]
    try:
        return str(json.loads(said)["x-instance-id"])
    except ValueError:
        return ""


@contextlib.contextmanager
def counting(network: Network, source: str) -> Iterator[Callable[[], int]]:
    """Yield what tells how many packets for the metadata service from `source` came to a network's instance."""
    inside = Machine(network.lan.server, SERVER_MAC)
    inside.run("sh", "-c", f"echo '{_COUNTS.format(source=source)}' | nft -f -")

    def counted() -> int:
        said = json.loads(inside.run("nft", "-j", "list", "table", "inet", "counts"))["nftables"]
        parts = [part for one in said if "rule" in one for part in one["rule"]["expr"]]
        return sum(part["counter"]["packets"] for part in parts if "counter" in part)

    yield counted
    inside.run("nft", "delete", "table", "inet", "counts")


def test_a_guest_with_only_a_default_route_gets_its_own_metadata(site: Site) -> None:
    for machine, address in ((site.in_one, ONE), (site.in_two, TWO)):
        assert "169.254" not in machine.run("ip", "route")
        assert asks(machine, address) == "id-0a"
        assert asks(machine, address, "/x" * 4000) == "id-0a"  # several packets there


def test_a_stranger_behind_the_router_is_nobody(site: Site) -> None:
    assert asks(site.stranger, STRANGER) == ""


def test_nothing_of_another_network_reaches_an_instance_whatever_source_it_claims(site: Site) -> None:
    """One router, two networks: a question is for the instance of the network it came from, or for nobody."""
    with counting(site.one, ONE) as at_one, counting(site.two, ONE) as at_two:
        assert asks(site.forger, ONE, within_s=QUIET_S) is None
        assert at_two() > 0
        assert at_one() == 0
        assert asks(site.in_one, ONE) == "id-0a"
        assert at_one() > 0


def test_the_ruleset_alone_lets_no_question_over_to_another_network(site: Site) -> None:
    """Were routes to lead there: what came in by one link leaves by no other one."""
    ip("-n", site.land.router, "route", "add", "169.254.169.254/32", "via", "10.1.0.2")
    ip("-n", site.land.router, "rule", "del", "iif", "r2")
    with counting(site.one, TWO) as at_one:
        assert asks(site.in_two, TWO, within_s=QUIET_S) is None
        assert at_one() == 0
    ip("-n", site.land.router, "route", "del", "169.254.169.254/32")


def test_what_is_answered_nowhere_does_not_leave_by_the_gateway(site: Site) -> None:
    """Out there 169.254.169.254 is somebody else's, and it answers."""
    ip("-n", site.one.lan.server, "link", "set", "tap0", "down")
    assert asks(site.in_one, ONE, within_s=QUIET_S) is None
    ip("-n", site.one.lan.server, "link", "set", "tap0", "up")
    ip("-n", site.land.router, "rule", "del", "iif", "r2")
    assert asks(site.in_two, TWO, within_s=QUIET_S) is None


def test_links_come_and_go_and_each_network_is_answered_by_its_own(site: Site) -> None:
    """Tables are numbered by the order of links: the second one's becomes the first one's."""
    both, kernel = site.section(), site.land.kernel()
    for links in (both.internal[1:], tuple(reversed(both.internal)), both.internal):
        site.land.push(replace(both, internal=links))
        assert asks(site.in_two, TWO) == "id-0a"
    assert site.land.kernel() == kernel


def test_administratively_down_turns_nothing_round(site: Site) -> None:
    site.land.push(replace(site.section(), enabled=False))
    assert asks(site.stranger, STRANGER, within_s=QUIET_S) is None


def test_a_rule_somebody_removed_is_seen_and_put_back(site: Site) -> None:
    ip("-n", site.land.router, "rule", "del", "iif", "r1")
    assert site.land.engine.state(site.land.place).health is Health.DEGRADED
    assert site.land.engine.repair(site.land.place).health is Health.HEALTHY
    assert asks(site.in_one, ONE) == "id-0a"
