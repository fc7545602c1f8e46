"""radvd as we run it: what a host on the link sees of it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

import pytest

from astara.appliance.boundaries import SubsystemError
from astara.appliance.subsystems.radvd.config import AdvertisedLink, Prefix, PrefixMode, RadvdConfig
from astara.appliance.subsystems.radvd.render import Rendered
from astara.appliance.subsystems.radvd.subsystem import RadvdSubsystem
from support.segment import SERVER_MAC, Machine, Segment, eventually, segment

pytestmark = pytest.mark.kernel

MAC = "fa:16:3e:00:00:0a"
ONE = IPv6Network("fd01::/64")
TWO = IPv6Network("fd02::/64")


def config(*prefixes: tuple[IPv6Network, PrefixMode], mtu: int = 1442) -> RadvdConfig:
    link = AdvertisedLink(
        SERVER_MAC,
        mtu,
        tuple(Prefix(network, mode) for network, mode in prefixes),
        (IPv6Address("fd01::53"),),
        min_interval_s=3,
        max_interval_s=4,
    )
    return RadvdConfig((link,) if prefixes else ())


class Advertised:
    def __init__(self, lan: Segment) -> None:
        self.lan = lan
        self.subsystem = RadvdSubsystem()
        lan.sysctl("net.ipv6.conf.all.forwarding", "1")
        eventually(lambda: "tentative" not in lan.addresses())

    def push(self, wish: RadvdConfig) -> bool:
        rendered = self.subsystem.render(self.lan.place, wish)
        self.subsystem.check(self.lan.place, rendered)
        touched = self.subsystem.apply(self.lan.place, rendered, None)
        assert self.found(wish) == []
        return touched

    def found(self, wish: RadvdConfig) -> list[str]:
        rendered = self.subsystem.render(self.lan.place, wish)
        return [each.detail for each in self.subsystem.read_back(self.lan.place, rendered)]

    @property
    def pid(self) -> int:
        return int((self.lan.place.files / "radvd" / "daemon.pid").read_text().split()[0])


@pytest.fixture
def advertised(tmp_path: Path) -> Iterator[Advertised]:
    with segment(tmp_path / "instance") as lan:
        yield Advertised(lan)


def listening(lan: Segment) -> Machine:
    machine = lan.machine(MAC)
    eventually(lambda: "scope link" in (seen := machine.run("ip", "-6", "addr")) and "tentative" not in seen)
    return machine


def solicited(machine: Machine) -> str:
    return eventually(
        lambda: said if "Prefix" in (said := machine.run("rdisc6", "-1", "-w", "2000", "eth0", check=False)) else "",
        within_s=15.0,
    )


def flags(said: str) -> tuple[str, str]:
    managed = re.search(r"Stateful address conf\.\s*:\s*(\S+)", said)
    other = re.search(r"Stateful other conf\.\s*:\s*(\S+)", said)
    assert managed
    assert other
    return managed[1], other[1]


@pytest.mark.parametrize(
    ("mode", "managed", "other", "autonomous"),
    [
        (PrefixMode.SLAAC, "No", "No", True),
        (PrefixMode.DHCPV6_STATELESS, "No", "Yes", True),
        (PrefixMode.DHCPV6_STATEFUL, "Yes", "Yes", False),
    ],
)
def test_trap_a_host_sees_the_flags_of_its_mode_and_configures_itself(
    advertised: Advertised, mode: PrefixMode, managed: str, other: str, autonomous: bool
) -> None:
    """RA without managed/other flags (W24)."""
    advertised.push(config((ONE, mode)))
    machine = listening(advertised.lan)

    said = solicited(machine)

    assert flags(said) == (managed, other)
    assert re.search(r"MTU\s*:\s*1442", said)
    assert re.search(r"Recursive DNS server\s*:\s*fd01::53", said)
    eventually(lambda: "default via fe80" in machine.run("ip", "-6", "route"))
    assert "default via fe80" in machine.run("ip", "-6", "route")
    formed = eventually(lambda: "fd01::" in machine.run("ip", "-6", "addr"), within_s=5.0 if autonomous else 0.5)
    assert formed is autonomous
    assert "mtu 1442" in machine.run("ip", "-6", "route")


def test_another_prefix_comes_and_goes_without_a_restart(advertised: Advertised) -> None:
    """Trap W25: a daemon restarted on every push."""
    advertised.push(config((ONE, PrefixMode.SLAAC)))
    machine = listening(advertised.lan)
    assert eventually(lambda: "fd01::" in machine.run("ip", "-6", "addr"))
    pid = advertised.pid

    assert advertised.push(config((ONE, PrefixMode.SLAAC), (TWO, PrefixMode.SLAAC)))
    assert eventually(lambda: "fd02::" in machine.run("ip", "-6", "addr"))
    assert advertised.push(config((ONE, PrefixMode.SLAAC)))

    def deprecated() -> bool:
        lines = machine.run("ip", "-6", "addr", "show", "dev", "eth0", "deprecated")
        return "fd02::" in lines and "fd01::" not in lines

    assert eventually(deprecated)
    assert "default via fe80" in machine.run("ip", "-6", "route")
    assert advertised.pid == pid
    assert not advertised.push(config((ONE, PrefixMode.SLAAC)))


def test_the_end_is_told_to_the_hosts(advertised: Advertised) -> None:
    advertised.push(config((ONE, PrefixMode.SLAAC)))
    machine = listening(advertised.lan)
    assert eventually(lambda: "fd01::" in machine.run("ip", "-6", "addr"))
    pid = advertised.pid

    advertised.push(config())

    assert eventually(lambda: "default via fe80" not in machine.run("ip", "-6", "route"))
    assert "fd01::" in machine.run("ip", "-6", "addr", "show", "dev", "eth0", "deprecated")
    assert not Path(f"/proc/{pid}").exists()
    assert not (advertised.lan.place.files / "radvd").exists()


def test_a_killed_or_stopped_radvd_is_seen_and_comes_back(advertised: Advertised) -> None:
    wish = config((ONE, PrefixMode.SLAAC))
    advertised.push(wish)
    os.kill(advertised.pid, signal.SIGKILL)
    assert eventually(lambda: advertised.found(wish) == ["does not run"])
    advertised.push(wish)

    os.kill(advertised.pid, signal.SIGSTOP)
    assert eventually(lambda: advertised.found(wish) == ["is stopped"])
    advertised.push(wish)

    assert flags(solicited(listening(advertised.lan))) == ("No", "No")


def test_a_restarted_agent_adopts_the_running_daemon(advertised: Advertised) -> None:
    wish = config((ONE, PrefixMode.SLAAC))
    advertised.push(wish)
    pid = advertised.pid

    advertised.subsystem = RadvdSubsystem()

    assert not advertised.push(wish)
    assert advertised.pid == pid


def test_what_radvd_refuses_leaves_the_running_one_alone(
    advertised: Advertised, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = config((ONE, PrefixMode.SLAAC))
    advertised.push(wish)
    pid = advertised.pid
    rendered = advertised.subsystem.render(advertised.lan.place, wish)
    monkeypatch.setattr(Rendered, "text", lambda self, names: "interface tap0 {\n  Bogus on;\n};\n")

    with pytest.raises(SubsystemError, match="syntax error") as refused:
        advertised.subsystem.check(advertised.lan.place, rendered)

    monkeypatch.undo()
    assert refused.value.phase == "check"
    assert advertised.pid == pid
    assert advertised.found(wish) == []


def test_a_renamed_link_is_followed(advertised: Advertised) -> None:
    """Trap W17: an interface is known by its MAC address, whatever it is called."""
    wish = config((ONE, PrefixMode.SLAAC))
    advertised.push(wish)
    advertised.lan.rename("eth7")
    assert advertised.found(wish) == ["radvd.conf differs"]

    advertised.push(wish)

    assert flags(solicited(listening(advertised.lan))) == ("No", "No")
