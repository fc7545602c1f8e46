"""Whether a ruleset's elements are accepted is the kernel's word, also about what it was asked before."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from astara.appliance.subsystems.nftables.config import Element, Ruleset, Span
from astara.appliance.subsystems.nftables.elements import wanted
from astara.appliance.subsystems.nftables.reference import Reference
from astara.appliance.system.netlink import NetlinkError

pytestmark = pytest.mark.kernel

STRUCTURE = """
  set spans { type ipv4_addr . inet_service; flags interval; }
  map fixed { type ipv4_addr : ipv4_addr; }
"""
HOST = IPv4Address("10.0.0.1")


def spans(*pairs: tuple[int, int]) -> Ruleset:
    return Ruleset(STRUCTURE, {"spans": frozenset(Element((HOST, Span(*pair))) for pair in pairs)})


def judge(reference: Reference, ruleset: Ruleset) -> None:
    shapes = reference.known(ruleset.structure).shapes
    reference.judge(ruleset, wanted(ruleset.elements, shapes, {}))


def test_what_was_refused_is_refused_again_and_what_was_accepted_stays_accepted() -> None:
    reference = Reference()
    overlapping = spans((80, 90), (85, 95))
    for _ in range(2):
        with pytest.raises(NetlinkError):
            judge(reference, overlapping)
        judge(reference, spans((80, 90)))
        judge(reference, spans((85, 95)))


def test_a_refused_set_takes_no_other_along_into_what_is_known_as_accepted() -> None:
    reference = Reference()
    twofold = frozenset(Element((HOST,), (IPv4Address(f"10.0.1.{last}"),)) for last in (1, 2))
    good = spans((80, 90)).elements
    for elements in ({**good, "fixed": twofold}, {"fixed": twofold}, {**good, "fixed": twofold}):
        with pytest.raises(NetlinkError):
            judge(reference, Ruleset(STRUCTURE, elements))
    judge(reference, Ruleset(STRUCTURE, good))
