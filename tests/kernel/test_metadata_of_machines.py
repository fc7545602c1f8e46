"""Metadata for guests of a machine: taken aside on the node, from frames, before the machine sees them.

The machine is a namespace behind a second link here; what leads to it is what leads to a real one's tap.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from astara.appliance.subsystems.metadata.config import Identity, MetadataConfig
from astara.appliance.subsystems.metadata.proxy import MetadataProxy
from astara.appliance.subsystems.metadata.subsystem import MetadataSubsystem
from astara.appliance.system import netns, rtnetlink, tc
from astara.appliance.system.netlink import Netlink
from astara.host.bodies.microvm.metadata import TakenAside
from support.nova_metadata import NovaMetadata
from support.segment import SERVER_MAC, Machine, Segment, eventually, ip, segment

pytestmark = pytest.mark.kernel
SECRET = b"only the node and Nova know"
A, B = "fa:16:3e:00:00:0a", "fa:16:3e:00:00:0b"
ALICE = Identity(A, (ip_address("10.1.0.5"), ip_address("fd01::5")), "instance-a", "project-a")
BOB = Identity(B, (ip_address("10.1.0.6"),), "instance-b", "project-b")
WISH = MetadataConfig(SERVER_MAC, (ALICE, BOB))
METADATA = "169.254.169.254"
_ASK = """
import http.client, sys
asked = http.client.HTTPConnection(sys.argv[1], 80, timeout=3)
asked.request("GET", "/openstack/latest/meta_data.json")
print(asked.getresponse().read().decode())
"""
#: Counts what of the metadata service's comes in, and serves whoever asks: a machine that would love to answer.
_CURIOUS = f"""table inet curious {{
  chain input {{
    type filter hook input priority 0;
    ip daddr {METADATA} tcp dport 80 counter
    ip6 daddr fe80::a9fe:a9fe tcp dport 80 counter
  }}
}}"""


class Behind:
    """A segment, the instance's place on it, and a machine to which everything there is redirected."""

    def __init__(self, lan: Segment, proxy: MetadataProxy) -> None:
        self.lan = lan
        self.subsystem = TakenAside(MetadataSubsystem(proxy))
        self.machine = Machine(f"{lan.switch}m", SERVER_MAC)
        ip("netns", "add", self.machine.netns)
        for name in ("tap1", "mgmt0"):
            ip("-n", lan.server, "link", "add", name, "type", "veth", "peer", "name", name, "netns", self.machine.netns)
            ip("-n", lan.server, "link", "set", name, "up")
        self._configure_machine()
        self._redirect("tap0", "tap1")
        self._redirect("tap1", "tap0")

    def _configure_machine(self) -> None:
        inside = self.machine
        inside.run("ip", "link", "set", "tap1", "address", SERVER_MAC)
        for link in ("lo", "tap1", "mgmt0"):
            inside.run("ip", "link", "set", link, "up")
        for address in ("10.1.0.2/24", f"{METADATA}/32"):
            inside.run("ip", "addr", "add", address, "dev", "tap1")
        inside.run("ip", "addr", "add", "fe80::a9fe:a9fe/64", "dev", "tap1", "nodad")
        inside.run("sh", "-c", f"echo '{_CURIOUS}' | nft -f -")
        inside.run("ip", "addr", "add", "169.254.0.2/30", "dev", "mgmt0")
        ip("-n", self.lan.server, "addr", "add", "169.254.0.1/30", "dev", "mgmt0")

    def _redirect(self, source: str, target: str) -> None:
        with netns.entered(self.lan.place.netns), Netlink() as kernel:
            index = {link.name: link.index for link in rtnetlink.links(kernel)}
            kernel.do([tc.add_ingress(index[source]), tc.add_redirect(index[source], index[target])])

    def push(self) -> bool:
        return self.subsystem.apply(self.lan.place, WISH, None)

    def deviations(self) -> list[str]:
        return [one.detail for one in self.subsystem.read_back(self.lan.place, WISH)]

    def seen_by_machine(self) -> int:
        """How many packets of questions came in there."""
        said = json.loads(self.machine.run("nft", "-j", "list", "ruleset"))["nftables"]
        rules = [one["rule"]["expr"] for one in said if "rule" in one]
        return sum(part["counter"]["packets"] for expr in rules for part in expr if "counter" in part)

    def guest(self, mac: str, address: str) -> Machine:
        made = self.lan.machine(mac)
        made.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        made.run("ip", "route", "add", METADATA, "via", "10.1.0.2")
        return made


def asks(guest: Machine, where: str = METADATA) -> str | None:
    """As whom the guest is answered, None when it is not."""
    try:
        return str(json.loads(guest.run("python3", "-c", _ASK, where, check=False))["x-instance-id"])
    except (ValueError, KeyError):
        return None


@pytest.fixture
def nova() -> Iterator[NovaMetadata]:
    made = NovaMetadata(SECRET)
    yield made
    made.close()


@pytest.fixture
def behind(tmp_path: Path, nova: NovaMetadata) -> Iterator[Behind]:
    proxy = MetadataProxy(nova.url, SECRET)
    proxy.start()
    with segment(tmp_path) as lan:
        made = Behind(lan, proxy)
        yield made
        made.subsystem.remove(lan.place)
        proxy.stop()
        ip("netns", "del", made.machine.netns)


def test_guests_of_a_machine_are_answered_by_the_node_and_the_machine_sees_no_question(behind: Behind) -> None:
    alice, bob = behind.guest(A, "10.1.0.5"), behind.guest(B, "10.1.0.6")
    assert behind.push()
    assert (asks(alice), asks(bob)) == ("instance-a", "instance-b")
    assert eventually(lambda: asks(bob, "fe80::a9fe:a9fe%eth0")) == "instance-b"
    assert behind.seen_by_machine() == 0
    assert not behind.push()
    assert behind.deviations() == []


def test_everything_else_still_reaches_the_machine(behind: Behind) -> None:
    alice = behind.guest(A, "10.1.0.5")
    behind.push()
    for address in ("10.1.0.2", METADATA, "fe80::a9fe:a9fe%eth0"):
        assert " 0% packet loss" in alice.run("ping", "-c", "2", "-i", "0.05", "-W", "1", address, check=False), address


def test_a_stranger_is_nobody(behind: Behind) -> None:
    behind.push()
    assert asks(behind.guest("fa:16:3e:00:00:0c", "10.1.0.7")) is None


def test_a_machine_cannot_ask_through_its_management_link(behind: Behind) -> None:
    """Not even under a guest's address: the proxy listens on the tenants' link alone."""
    behind.push()
    inside = behind.machine
    inside.run("ip", "addr", "del", f"{METADATA}/32", "dev", "tap1")
    inside.run("ip", "route", "add", METADATA, "dev", "mgmt0", "via", "169.254.0.1")
    inside.run("ip", "addr", "add", "10.1.0.5/32", "dev", "lo")
    assert asks(inside) is None
    inside.run("ip", "route", "replace", METADATA, "dev", "mgmt0", "via", "169.254.0.1", "src", "10.1.0.5")
    assert asks(inside) is None


def test_a_way_aside_that_was_closed_is_seen_and_mended(behind: Behind) -> None:
    alice = behind.guest(A, "10.1.0.5")
    behind.push()
    ip(
        "netns",
        "exec",
        behind.lan.server,
        "tc",
        "filter",
        "del",
        "dev",
        "tap0",
        "ingress",
        "protocol",
        "ip",
        "prio",
        "1",
    )
    assert behind.deviations() == ["guests' questions are not taken aside"]
    assert asks(alice) is None
    assert behind.push()
    assert asks(alice) == "instance-a"
