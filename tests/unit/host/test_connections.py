"""Connections as agents tell them to each other."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from astara.appliance.api.refusals import Refusal
from astara.appliance.boundaries import Place
from astara.appliance.system.ctnetlink import Direction, Tcp, Tracked
from astara.contract.agent import Connection, Connections
from astara.contract.codec import decode, encode
from astara.host import connections
from astara.host.connections import HandOver, InNamespace

PLACE = Place("one", None, None)  # type: ignore[arg-type]
OTHER = Place("two", None, None)  # type: ignore[arg-type]
SNAT = Tracked(
    original=Direction(ip_address("10.0.0.2"), ip_address("192.0.2.2"), 6, 4000, 7),
    reply=Direction(ip_address("192.0.2.2"), ip_address("192.0.2.1"), 6, 7, 4000),
    status=0x19E,
    timeout_s=431999,
    mark=3,
    zone=2,
    labels=bytes(range(16)),
    tcp=Tcp(3, 7, 7, 0x23, 0x23),
)
PLAIN = Tracked(
    original=Direction(ip_address("fd00::2"), ip_address("2001:db8::1"), 17, 5353, 53),
    reply=Direction(ip_address("2001:db8::1"), ip_address("fd00::2"), 17, 53, 5353),
    status=0xE,
    timeout_s=28,
)


@pytest.mark.parametrize("one", [SNAT, PLAIN])
def test_what_is_told_is_what_is_meant(one: Tracked) -> None:
    told = decode(encode(Connections(connections=(connections._told(one),))), Connections)
    assert [connections._meant(each) for each in told.connections] == [one]


@pytest.mark.parametrize(
    "changes",
    [
        {"status": 1 << 32},
        {"timeout_s": -1},
        {"zone": 1 << 16},
        {"protocol": 256},
        {"original": replace(connections._told(SNAT).original, source="nobody")},
        {"original": replace(connections._told(SNAT).original, source="fd00::1")},
        {"reply": replace(connections._told(SNAT).reply, source_port=65536)},
    ],
)
def test_what_no_kernel_can_mean_is_refused_and_names_the_field(changes: dict[str, object]) -> None:
    with pytest.raises(Refusal) as told:
        InNamespace().restore(PLACE, [replace(connections._told(SNAT), **changes)])
    assert told.value.problem.field == "$.connections"


class Kept:
    """Tracks what it is told."""

    def __init__(self, *present: Connection) -> None:
        self.present = list(present)
        self.calls: list[int] = []

    def tracked(self, place: Place) -> list[Connection]:
        return list(self.present)

    def restore(self, place: Place, wanted: list[Connection]) -> int:
        self.calls.append(len(wanted))
        self.present += wanted
        return len(wanted)


def test_the_second_hand_over_tells_only_what_began_since() -> None:
    old, new = Kept(connections._told(SNAT)), Kept()
    hand_over = HandOver((old, PLACE), (new, OTHER))
    hand_over()
    hand_over()
    assert new.calls == [1]
    old.present.append(connections._told(PLAIN))
    hand_over()
    assert new.calls == [1, 1]
    assert new.present == old.present
