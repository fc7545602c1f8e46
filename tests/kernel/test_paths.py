"""Next hops are asked for as long as their link is there, whichever link of that name it is."""

from __future__ import annotations

import socket
import subprocess
import uuid
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from astara.appliance.subsystems.gate.config import GateConfig
from astara.appliance.subsystems.gate.render import Rendered
from astara.appliance.system import netns, paths, probes
from astara.appliance.system.paths import Paths, Presence, Question
from support.node_agent import isolated
from support.segment import eventually, ip

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]
OWN, LINK, DEAD = "fa:16:3e:00:01:01", "fa:16:3e:00:00:01", "-50"
_EVERYTHING = 0x0003  # linux/if_ether.h: ETH_P_ALL
HOPS = {"gone": "192.0.2.9", "stays": "198.51.100.9"}


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """One that asks and one where next hops live."""
    names = [f"p-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    for name in names:
        ip("netns", "add", name)
    yield names[0], names[1]
    for name in names:
        ip("netns", "del", name)


def join(namespaces: tuple[str, str], link: str) -> None:
    here, there = namespaces
    ip("-n", here, "link", "add", link, "type", "veth", "peer", "name", link, "netns", there)
    ip("-n", there, "address", "add", f"{HOPS[link]}/24", "dev", link)
    for name in namespaces:
        ip("-n", name, "link", "set", link, "up")


def test_a_link_that_was_made_again_is_asked_on_again(
    namespaces: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "EVERY_S", 0.2)
    here, there = namespaces
    file, asking = tmp_path / "path", Paths()
    asking.watch(Path("/run/netns") / here, [_question("gone")], file, DEAD)
    join(namespaces, "gone")
    assert eventually(lambda: asking._watched[file].known)

    ip("-n", here, "link", "del", "gone")
    assert eventually(lambda: not asking._watched[file].asked)
    join(namespaces, "gone")
    ip("-n", there, "address", "flush", "dev", "gone")

    assert eventually(lambda: file.read_text().strip() == DEAD)
    ip("-n", there, "address", "add", f"{HOPS['gone']}/24", "dev", "gone")
    assert eventually(lambda: file.read_text().strip() == "0")
    asking.forget(file)


def test_a_link_that_is_not_there_keeps_nobody_from_asking_on_others(
    namespaces: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "EVERY_S", 0.2)
    here, there = namespaces
    join(namespaces, "stays")
    file, asking = tmp_path / "path", Paths()
    asking.watch(Path("/run/netns") / here, [_question("gone"), _question("stays")], file, DEAD)
    assert eventually(lambda: asking._watched[file].known)

    ip("-n", there, "address", "flush", "dev", "stays")

    assert eventually(lambda: file.read_text().strip() == DEAD)
    asking.forget(file)


def test_a_half_that_stands_by_says_that_it_is_there_and_nothing_else(
    namespaces: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OVN opens a chassis that has a port besides another for whoever does (activation strategy "rarp")."""
    monkeypatch.setattr(paths, "EVERY_S", 0.2)
    here, there = namespaces
    for link in HOPS:
        join(namespaces, link)
    ip("-n", here, "address", "add", "198.51.100.1/24", "dev", "stays")
    ip("-n", here, "link", "set", "gone", "address", OWN)
    table = Rendered(GateConfig(OWN, (LINK,), 20)).text({OWN: "gone", LINK: "stays"})
    subprocess.run(["ip", "netns", "exec", here, "nft", "-f", "-"], input=table, text=True, check=True)
    with netns.entered(Path("/run/netns") / there):
        hearing = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERYTHING))
    with hearing:
        hearing.bind(("stays", _EVERYTHING))
        hearing.settimeout(20)
        file, asking = tmp_path / "path", Paths()
        asking.watch(Path("/run/netns") / here, [], file, DEAD, [Presence("stays", LINK, OWN)])
        subprocess.run(["ip", "netns", "exec", here, "ping", "-c1", "-W1", HOPS["stays"]], check=False)
        frames = [_heard(hearing) for _ in range(2)]
    assert frames == [probes.presence(_packed(LINK), _packed(OWN))] * 2
    asking.forget(file)


def test_what_other_halves_say_wakes_nobody(
    namespaces: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each half hears it once a second on every link: on a node with a thousand, a thread would do nothing else."""
    monkeypatch.setattr(paths, "EVERY_S", 0.2)
    here, there = namespaces
    for link in HOPS:
        join(namespaces, link)
    file, asking = tmp_path / "path", Paths()
    asking.watch(Path("/run/netns") / here, [], file, DEAD, [Presence(link, LINK, OWN) for link in HOPS])
    for link in HOPS:
        with netns.entered(Path("/run/netns") / there):
            hearing = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERYTHING))
        with hearing:
            hearing.bind((link, _EVERYTHING))
            hearing.settimeout(20)
            assert _heard(hearing) == probes.presence(_packed(LINK), _packed(OWN))

    _, *listed = ip("netns", "exec", here, "cat", "/proc/net/packet").splitlines()
    assert [line.split()[3] for line in listed] == ["0000"]  # packet(7): protocol 0 receives nothing
    asking.forget(file)


def _heard(on: socket.socket) -> bytes:
    """Return the next frame that is not IPv6, of which the kernel sends some when a link comes up."""
    while (frame := on.recv(128))[12:14] == b"\x86\xdd":
        pass
    return frame


def _packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _question(link: str) -> Question:
    return Question(link, ip_address(HOPS[link]), OWN)
