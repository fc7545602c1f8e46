"""How often a half advertises, and for how long that opens its gate: one number for both."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from astara.appliance.boundaries import Place
from astara.appliance.subsystems.gate.config import GateConfig
from astara.appliance.subsystems.gate.subsystem import GateSubsystem
from astara.appliance.subsystems.keepalived.config import KeepalivedConfig
from astara.appliance.subsystems.keepalived.pace import Pace
from astara.appliance.subsystems.keepalived.subsystem import KeepalivedSubsystem
from astara.appliance.system import processor

HEART = "fa:16:3e:00:01:01"
PLACE = Place("i", None, Path("/nowhere"))
NAMES = {HEART: "heart0"}


@pytest.mark.parametrize(("wished_ms", "least_ms", "advert_ms"), [(20, 0, 20), (20, 200, 200), (500, 200, 500)])
def test_an_advertisement_is_as_often_as_the_machine_can_and_the_gate_stays_open_for_three(
    wished_ms: int, least_ms: int, advert_ms: int
) -> None:
    pace = Pace(least_ms)
    own, peer = IPv4Address("169.254.192.1"), IPv4Address("169.254.192.2")
    wish = KeepalivedConfig(HEART, own, peer, wished_ms)
    election = KeepalivedSubsystem(pace=pace).render(PLACE, wish).text(NAMES)
    gate = GateSubsystem(pace).render(PLACE, GateConfig(HEART, (), wished_ms)).text(NAMES)
    assert f"advert_int 0.{advert_ms:03d}\n" in election
    assert f"timeout {3 * advert_ms}ms" in gate


def test_a_machine_whose_instructions_are_translated_knows_it(tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text("model name\t: QEMU TCG CPU version 2.5+\n")
    assert processor.emulated(told)
    told.write_text("model name\t: AMD EPYC\n")
    assert not processor.emulated(told)
    assert not processor.emulated(tmp_path / "none")
