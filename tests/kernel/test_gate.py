"""The gate alone, without anybody who elects."""

from __future__ import annotations

import socket
import struct
import subprocess
import uuid
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from astara.appliance.subsystems.gate import subsystem as gate
from astara.appliance.subsystems.gate.config import GateConfig
from astara.appliance.subsystems.gate.render import Rendered
from astara.appliance.system import netns
from astara.contract.agent import Role
from support.node_agent import isolated
from support.segment import ip

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]
HEART, OTHERS, LINK = "fa:16:3e:00:01:01", "fa:16:3e:00:01:02", "fa:16:3e:00:00:01"
WELL, LAME, GOODBYE = 250, 200, 0
#: A lease that outlives a busy machine's pauses.
_UNHURRIED_MS = 20_000
HEARTS = ("169.254.192.1", "169.254.192.2")


class Alone:
    """A half with a link to the other one, `heart` there and `peer` here, and one to tenants."""

    def __init__(self, name: str) -> None:
        self.place = Path("/run/netns") / name
        for link, mac in (("heart", HEART), ("tenant", LINK)):
            ip("-n", name, "link", "add", link, "address", mac, "type", "veth", "peer", "name", f"{link}-peer")
            for end in (link, f"{link}-peer"):
                ip("-n", name, "link", "set", end, "up")
        table = Rendered(GateConfig(HEART, (LINK,), _UNHURRIED_MS, yields=True)).text({HEART: "heart", LINK: "tenant"})
        subprocess.run(["ip", "netns", "exec", name, "nft", "-f", "-"], input=table, text=True, check=True)
        with netns.entered(self.place):
            self.own, self.other = (socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) for _ in range(2))
        self.own.bind(("heart", 0))
        self.other.bind(("heart-peer", 0))

    def advertises(self, priority: int = WELL) -> None:
        self.own.send(_advertisement(HEART, OTHERS, HEARTS, priority))

    def hears(self, priority: int = WELL) -> None:
        self.other.send(_advertisement(OTHERS, HEART, HEARTS[::-1], priority))

    def role(self) -> Role | None:
        return gate.role_in(self.place)


@pytest.fixture
def half() -> Iterator[Alone]:
    name = f"g-{uuid.uuid4().hex[:8]}"
    ip("netns", "add", name)
    made = Alone(name)
    yield made
    made.own.close()
    made.other.close()
    ip("netns", "del", name)


def test_a_gate_that_was_closed_twenty_times_in_a_second_opens_again(half: Alone) -> None:
    """On a busy node. The other half hears it advertise all the time, and stands by."""
    for _ in range(20):
        half.advertises()
        assert half.role() is Role.ACTIVE
        half.advertises(GOODBYE)
        assert half.role() is Role.STANDBY


def test_who_hears_the_one_that_wins_closes_its_gate_and_nobody_else(half: Alone) -> None:
    """RFC 9568 6.4.3: who is worth more, else who has the higher address, which is the other one."""
    for own, other, stays in ((WELL, LAME, True), (WELL, WELL, False), (LAME, LAME, False), (LAME, WELL, False)):
        half.advertises(own)
        half.hears(other)
        assert half.role() is (Role.ACTIVE if stays else Role.STANDBY), (own, other)


def _advertisement(source: str, to: str, addresses: tuple[str, ...], priority: int) -> bytes:
    """Return a VRRPv3 advertisement in an Ethernet frame; nobody gets as far as its checksums."""
    ethernet = bytes.fromhex((to + source).replace(":", "")) + b"\x08\x00"
    ipv4 = struct.pack("!BxH4xBB2x4s4s", 0x45, 28, 255, 112, *(ip_address(one).packed for one in addresses))
    return ethernet + ipv4 + bytes((0x31, 1, priority, 0, 0, 1, 0, 0))
