"""Who a source is."""

from __future__ import annotations

from ipaddress import ip_address

from astara.appliance.subsystems.metadata.config import Identity
from astara.appliance.subsystems.metadata.identity import Directory, link_local

A, B = "fa:16:3e:00:00:0a", "fa:16:3e:00:00:0b"
ALICE = Identity(A, (ip_address("10.1.0.5"), ip_address("fd01::5")), "instance-a", "project-a")
BOB = Identity(B, (ip_address("10.1.0.6"),), "instance-b", "project-b")
WHO = Directory.of((ALICE, BOB))
OPAQUE = ip_address("fe80::1234:5678:9abc:def0")


def test_the_source_address_names_the_port() -> None:
    assert WHO.identify(ip_address("10.1.0.5"), None) == ALICE
    assert WHO.identify(ip_address("fd01::5"), None) == ALICE
    assert WHO.identify(ip_address("10.1.0.6"), None) == BOB
    assert WHO.identify(ip_address("10.1.0.7"), A) is None


def test_a_link_local_source_is_known_by_the_mac_address_it_answers_from() -> None:
    assert WHO.identify(link_local(A), A) == ALICE
    assert WHO.identify(OPAQUE, B) == BOB
    assert WHO.identify(OPAQUE, None) is None
    assert WHO.identify(OPAQUE, "fa:16:3e:00:00:0c") is None


def test_a_link_local_source_that_looks_like_another_port_is_nobody() -> None:
    assert WHO.identify(link_local(A), B) is None
    assert WHO.identify(link_local(A), None) is None


def test_link_local_addresses_are_modified_eui_64() -> None:
    """RFC 4291 appendix A."""
    assert link_local("34:56:78:9a:bc:de") == ip_address("fe80::3656:78ff:fe9a:bcde")
    assert link_local(A) == ip_address("fe80::f816:3eff:fe00:a")
