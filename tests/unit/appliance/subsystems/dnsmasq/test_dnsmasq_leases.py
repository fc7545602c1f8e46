"""What a lease file says, and which leases nobody may hold any more."""

from __future__ import annotations

from ipaddress import ip_address

from astara.appliance.subsystems.dnsmasq import leases
from astara.appliance.subsystems.dnsmasq.leases import Lease
from astara.appliance.subsystems.dnsmasq.render import Claim

FILE = """1795340361 fa:16:3e:00:00:01 10.1.0.5 host-a 01:fa:16:3e:00:00:01
1795340361 fa:16:3e:00:00:02 10.1.0.6 * *
duid 00:01:00:01:32:94:23:48:92:be:b3:73:ca:50
1795340361 12345 fd00::5 host-a 00:03:00:01:fa:16:3e:00:00:01
"""
FIRST = Lease("fa:16:3e:00:00:01", ip_address("10.1.0.5"), bytes.fromhex("01fa163e000001"))
SECOND = Lease("fa:16:3e:00:00:02", ip_address("10.1.0.6"), b"")
SIXTH = Lease("12345", ip_address("fd00::5"), bytes.fromhex("00030001fa163e000001"))


def claims(*pairs: tuple[str, str]) -> frozenset[Claim]:
    return frozenset(Claim(mac, ip_address(address)) for mac, address in pairs)


def test_a_lease_file_is_read_whole() -> None:
    found = leases.parse(FILE)

    assert found.leases == (FIRST, SECOND, SIXTH)
    assert found.server_duid == bytes.fromhex("000100013294234892beb373ca50")


def test_a_lease_file_that_is_being_written_gives_what_is_there() -> None:
    assert leases.parse(FILE[:90]).leases == (FIRST,)
    assert leases.parse("").leases == ()
    assert leases.parse("1 2 not-an-address 4 5\nduid zz\n").leases == ()


def test_a_v4_lease_is_its_ports_as_long_as_mac_and_address_agree() -> None:
    both = (FIRST, SECOND)

    kept = claims((FIRST.holder, "10.1.0.5"), ("fa:16:3e:00:00:09", "10.1.0.6"))

    assert leases.unclaimed(both, kept, frozenset()) == [SECOND]


def test_a_v6_lease_goes_when_its_address_is_nobodys_or_somebody_elses() -> None:
    owner, other = claims(("fa:16:3e:00:00:01", "fd00::5")), claims(("fa:16:3e:00:00:09", "fd00::5"))

    assert leases.unclaimed([SIXTH], owner, owner) == []
    assert leases.unclaimed([SIXTH], owner, frozenset()) == []
    assert leases.unclaimed([SIXTH], other, owner) == [SIXTH]
    assert leases.unclaimed([SIXTH], frozenset(), owner) == [SIXTH]


def test_a_lease_file_without_some_keeps_the_rest_and_the_servers_identity() -> None:
    left = leases.parse(leases.without(FILE, [FIRST, SIXTH]))

    assert left.leases == (SECOND,)
    assert left.server_duid == leases.parse(FILE).server_duid
