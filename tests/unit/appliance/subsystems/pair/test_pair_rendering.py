"""What the two halves of a pair read: goldens, and that nothing but names we looked up becomes syntax."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from astara.appliance.subsystems.conntrackd import render as conntrackd
from astara.appliance.subsystems.conntrackd.config import ConntrackdConfig
from astara.appliance.subsystems.gate import render as gate
from astara.appliance.subsystems.gate.config import GateConfig
from astara.appliance.subsystems.keepalived import render as keepalived
from astara.appliance.subsystems.keepalived.config import KeepalivedConfig, Marker
from support.golden_files import golden

HEART, IN, OUT = "fa:16:3e:00:01:01", "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"
NAMES = {HEART: "heart0", IN: "tap0", OUT: "tap1"}
OWN, PEER = IPv4Address("169.254.192.1"), IPv4Address("169.254.192.2")
MARKERS = (Marker(IN, IPv4Address("169.254.0.1")), Marker(OUT, IPv4Address("169.254.0.2")))
DIRECTORY = Path("/var/lib/astara/i/conntrackd")
SHELL = Path("/usr/bin/dash")
ROLE = DIRECTORY / "role.sh"


def election(**more: object) -> keepalived.Rendered:
    wish = {"heart": HEART, "address": OWN, "peer": PEER, "advert_ms": 20, "markers": MARKERS} | more
    return keepalived.Rendered(KeepalivedConfig(**wish), ROLE, DIRECTORY / "path", SHELL)  # type: ignore[arg-type]


def sync() -> conntrackd.Rendered:
    return conntrackd.Rendered(ConntrackdConfig(HEART, OWN, PEER), DIRECTORY, Path("/run/astara/conntrackd-1"))


def test_keepalived_reads_what_was_accepted() -> None:
    text = election().text(NAMES)
    assert text == golden("keepalived", "two-links.conf", text)
    alone = election(markers=(), advert_ms=1000).text(NAMES)
    assert alone == golden("keepalived", "no-links.conf", alone)


def test_conntrackd_reads_what_was_accepted() -> None:
    text = sync().text(NAMES)
    assert text == golden("conntrackd", "plain.conf", text)
    script = sync().script("/usr/sbin/conntrackd")
    assert script == golden("conntrackd", "role.sh", script)


@pytest.mark.parametrize("yields", [True, False])
def test_the_gate_is_what_was_accepted(yields: bool) -> None:
    text = gate.Rendered(GateConfig(HEART, (IN, OUT), 20, yields)).text(NAMES)
    assert text == golden("gate", f"yields-{yields}.nft", text)


def test_a_link_that_is_not_there_is_left_out() -> None:
    here = {HEART: "heart0", IN: "tap0"}
    assert "tap1" not in election().text(here)
    assert "tap1" not in gate.Rendered(GateConfig(HEART, (IN, OUT), 20)).text(here)


def test_both_advertise_the_same_addresses_whatever_links_each_has() -> None:
    """A half that was not told of a new link yet must not be one that keepalived does not understand."""

    def advertised(text: str) -> str:
        return text.partition("virtual_ipaddress {")[2].partition("}")[0]

    assert advertised(election().text(NAMES)) == advertised(election(markers=()).text(NAMES))


@pytest.mark.parametrize("name", ["a b", "tap0;", 'x"', "a\nb", ""])
def test_no_link_name_becomes_syntax(name: str) -> None:
    for text in (election().text, sync().text, gate.Rendered(GateConfig(HEART, (IN,), 20)).text):
        with pytest.raises(ValueError, match="not a"):
            text(NAMES | {HEART: name})
