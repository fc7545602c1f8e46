"""What an instance meets while it is configured: full disks, taken ports, daemons that refuse.

Each is told by name with its remedy, leaves what runs, and is over when its cause is.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from astara.appliance.apply.engine import Engine
from astara.appliance.apply.errors import ApplyFailed
from astara.appliance.boundaries import SubsystemError
from astara.appliance.subsystems.dnsmasq import subsystem as dnsmasq
from astara.appliance.subsystems.kernel import kernel_subsystems
from astara.appliance.subsystems.radvd.render import Rendered as RadvdFile
from astara.appliance.subsystems.radvd.subsystem import RadvdSubsystem
from astara.appliance.system import netns
from astara.contract.agent import Health, Outcome
from astara.drivers.network.schema import Host
from astara.drivers.router.appliance import RouterAppliance
from astara.drivers.router.schema import AdvertisedPrefix, RaMode, RouterSection
from support.builders.router import internal
from support.disks import SmallDisk, small_disk
from support.segment import ip
from support.served_network import A, B, Network, served_network, server
from support.terrain import Terrain, terrain

pytestmark = pytest.mark.kernel


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with served_network(tmp_path) as made:
        yield made


# A full disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "instance", 512) as made:
        yield made


def hosts(count: int) -> list[Host]:
    return [server(f"fa:16:3e:00:01:{number:02x}", f"10.1.0.{number}") for number in range(10, 10 + count)]


#: Pages left on the disk: the document fits, then dnsmasq's first, second, or third file does not.
@pytest.mark.parametrize("pages", [9, 11, 13])
def test_daemon_files_that_do_not_fit_on_the_disk_leave_the_daemon_serving(
    disk: SmallDisk, network: Network, pages: int
) -> None:
    network.push(server(A, "10.1.0.5"))
    pid, machine = network.pid, network.lan.machine(A)
    written = dnsmasq_files(network)
    disk.fill(leaving_pages=pages)

    with pytest.raises(ApplyFailed, match=r"No space left on device.*/dnsmasq/") as failed:
        network.push(server(A, "10.1.0.5"), server(B, "10.1.0.6"), *hosts(190))

    assert failed.value.restored
    assert "free space" in failed.value.remedy
    assert dnsmasq_files(network) == written
    assert network.engine.state(network.lan.place).health is Health.HEALTHY
    assert network.pid == pid
    assert network.v4(machine).lease()["ip"] == "10.1.0.5"

    disk.relieve()
    assert network.push(server(A, "10.1.0.5"), server(B, "10.1.0.6"), *hosts(190)) is Outcome.APPLIED
    assert network.v4(network.lan.machine(B)).lease()["ip"] == "10.1.0.6"


def dnsmasq_files(network: Network) -> dict[str, bytes]:
    """Every file that we write for dnsmasq; nothing half written lies beside them."""
    found = (network.lan.place.files / "dnsmasq").iterdir()
    return {path.name: path.read_bytes() for path in found if path.name not in {"log", "leases"}}


@pytest.fixture
def advertising(disk: SmallDisk) -> Iterator[tuple[Terrain, str]]:
    """A router with a real radvd whose files are on the small disk, and its link's MAC address."""
    engine = Engine((*kernel_subsystems(), RadvdSubsystem()), {"router": RouterAppliance()})
    with terrain(disk.path / "files", engine) as land:
        try:
            yield land, land.plug("one")
        finally:
            engine.remove(land.place)


def router(mac: str, *prefixes: str) -> RouterSection:
    advertise = tuple(AdvertisedPrefix(prefix=each, mode=RaMode.SLAAC) for each in prefixes)
    addresses = ("10.0.0.1/24", *(each.replace("::/", "::1/") for each in prefixes))
    return RouterSection(router_id="r", internal=(internal(mac, *addresses, advertise=advertise),))


def test_a_radvd_file_that_does_not_fit_on_the_disk_leaves_radvd_as_it_was(
    disk: SmallDisk, advertising: tuple[Terrain, str]
) -> None:
    land, mac = advertising
    land.push(router(mac, "fd01::/64"))
    before, written = land.kernel(), (land.place.files / "radvd" / "radvd.conf").read_bytes()
    many = router(mac, *(f"fd01:{number:x}::/64" for number in range(120)))
    disk.fill(leaving_pages=5)

    with pytest.raises(ApplyFailed, match=r"No space left on device.*/radvd/radvd.conf") as failed:
        land.push(many)

    assert failed.value.restored
    assert "free space" in failed.value.remedy
    assert land.kernel() == before
    assert (land.place.files / "radvd" / "radvd.conf").read_bytes() == written
    assert land.engine.state(land.place).health is Health.HEALTHY

    disk.relieve()
    assert land.push(many).outcome is Outcome.APPLIED


# A port that cannot be bound


def taken(network: Network, kind: socket.SocketKind, port: int) -> socket.socket:
    """Take a port of every address inside the instance, as a stray process there would."""
    with netns.entered(network.lan.place.netns):
        rival = socket.socket(socket.AF_INET, kind)
    rival.bind(("0.0.0.0", port))
    if kind is socket.SOCK_STREAM:
        rival.listen()
    return rival


@pytest.mark.parametrize(
    ("kind", "port", "words"),
    [
        (socket.SOCK_DGRAM, 53, r"dnsmasq: .*socket for [0-9.]+: Address already in use"),
        (socket.SOCK_STREAM, 80, r"metadata: .*169\.254\.169\.254 port 80 cannot be bound: Address already in use"),
    ],
)
def test_a_port_somebody_has_inside_the_instance_is_named_and_nothing_is_half_applied(
    network: Network, kind: socket.SocketKind, port: int, words: str
) -> None:
    with taken(network, kind, port):
        with pytest.raises(ApplyFailed, match=words) as failed:
            network.push(server(A, "10.1.0.5"))
        assert f"ip netns exec {network.lan.server} ss -lntup" in failed.value.remedy
        assert network.engine.state(network.lan.place).health is Health.UNCONFIGURED
        assert "10.1.0.2" not in network.lan.addresses()
        assert ip("netns", "exec", network.lan.server, "nft", "list", "ruleset") == ""
        assert ip("netns", "pids", network.lan.server) == ""
        assert not (network.lan.place.files / "dnsmasq").exists()

    assert network.push(server(A, "10.1.0.5")) is Outcome.APPLIED
    assert network.v4(network.lan.machine(A)).lease()["ip"] == "10.1.0.5"


# A daemon that refuses its configuration


def test_what_dnsmasq_refuses_stops_the_whole_document_and_the_next_one_is_taken(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.push(server(A, "10.1.0.5"))
    pid, links = network.pid, network.lan.addresses()
    further = {"addresses": ("10.1.0.2/24", "10.1.0.3/24", "fd01::2/64"), "mtu": 1400}

    def spoiled(directory: Path, config: Any) -> Any:
        made = render(directory, config)
        object.__setattr__(made, "lines", (*made.lines, "dhcp-range=nonsense"))
        return made

    render = dnsmasq.render
    monkeypatch.setattr(dnsmasq, "render", spoiled)
    with pytest.raises(SubsystemError, match="bad dhcp-range at line") as refused:
        network.push(server(A, "10.1.0.5"), **further)
    monkeypatch.undo()

    assert refused.value.phase == "check"
    assert network.lan.addresses() == links
    assert network.engine.state(network.lan.place).health is Health.HEALTHY
    assert network.pid == pid

    assert network.push(server(A, "10.1.0.5"), **further) is Outcome.APPLIED
    assert "10.1.0.3" in network.lan.addresses()


def test_what_radvd_refuses_stops_the_whole_document_and_the_next_one_is_taken(
    advertising: tuple[Terrain, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    land, mac = advertising
    land.push(router(mac, "fd01::/64"))
    before = land.kernel()

    monkeypatch.setattr(RadvdFile, "text", lambda self, names: "interface x1 {\n  Bogus on;\n};\n")
    with pytest.raises(SubsystemError, match="syntax error") as refused:
        land.push(router(mac, "fd01::/64", "fd02::/64"))
    monkeypatch.undo()

    assert refused.value.phase == "check"
    assert land.kernel() == before
    assert land.engine.state(land.place).health is Health.HEALTHY
    assert land.push(router(mac, "fd01::/64", "fd02::/64")).outcome is Outcome.APPLIED
