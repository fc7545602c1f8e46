"""dnsmasq's files from a typed wish."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

import pytest

from astara.appliance.subsystems.dnsmasq.config import DnsmasqConfig, Host, Mode, PortOption, StaticRoute, Subnet
from astara.appliance.subsystems.dnsmasq.quoting import LONGEST_LINE
from astara.appliance.subsystems.dnsmasq.render import LeftOut, Rendered, render
from support.builders.daemons import OWN_MAC, dnsmasq_config, dnsmasq_wishes, host, subnet_v4, subnet_v6
from support.golden_files import golden

DIRECTORY = Path("/var/lib/astara/instances/i/dnsmasq")


def rendered(config: DnsmasqConfig) -> Rendered:
    found = render(DIRECTORY, config)
    assert found is not None
    return found


@pytest.mark.parametrize("name", sorted(dnsmasq_wishes()))
def test_the_files_are_what_was_accepted(name: str) -> None:
    found = rendered(dnsmasq_wishes()[name])

    whole = found.dry_run("tap0", "dnsmasq")
    parts = f"# hosts\n{found.hosts}# options\n{found.options}# names\n{found.names}"

    assert whole == golden("dnsmasq", f"{name}.conf", whole)
    assert parts == golden("dnsmasq", f"{name}.parts", parts)


def test_nothing_to_serve_is_nothing() -> None:
    assert render(DIRECTORY, dnsmasq_config(hosts=(host(1, "10.1.0.5"),))) is None


def test_a_port_changes_no_line_of_the_main_file() -> None:
    before = rendered(dnsmasq_config(subnet_v4(), hosts=(host(1, "10.1.0.5"),)))
    after = rendered(dnsmasq_config(subnet_v4(), hosts=(host(1, "10.1.0.5"), host(2, "10.1.0.6"))))

    assert before.main("tap0", "root") == after.main("tap0", "root")
    assert before.marker != after.marker


def test_equal_wishes_are_equal_files() -> None:
    for name, config in dnsmasq_wishes().items():
        assert rendered(config) == rendered(dnsmasq_wishes()[name])


def test_trap_a_stateless_subnet_leases_nothing() -> None:
    """A DHCPv6 hole."""
    found = rendered(dnsmasq_config(subnet_v6("s", Mode.STATELESS), hosts=(host(1, "fd01::5"),)))

    assert "fd01::5" not in found.hosts
    assert found.hosts.startswith("fa:16:3e:00:00:01")
    assert found.claims == frozenset()


def test_a_prefix_that_dnsmasq_refuses_is_left_out_and_said() -> None:
    found = rendered(dnsmasq_config(subnet_v4(), subnet_v6("wide", Mode.STATEFUL, length=56)))

    assert "fd01" not in found.main("tap0", "root")
    assert found.left_out == (LeftOut("wide", "subnet: prefix shorter than /64"),)


def test_what_is_left_out_never_repeats_the_tenants_words() -> None:
    bad = Host(
        "p", "fa:16:3e:00:00:09", (IPv4Address("10.1.0.5"),), "evil\nname", ("e v i l",), (PortOption("\n", "evil", 4),)
    )

    found = rendered(dnsmasq_config(subnet_v4(), hosts=(bad,)))

    assert {item.port_id for item in found.left_out} == {"p"}
    assert len(found.left_out) == 3
    assert "evil" not in repr(found)


def test_addresses_beyond_a_lines_length_are_left_out_and_said_and_other_ports_are_served() -> None:
    addresses = tuple(IPv6Address(f"fd01::{number:x}") for number in range(0x1000, 0x1200))
    crowded = Host("p", "fa:16:3e:00:00:0a", addresses, "crowded")
    other = Host("q", "fa:16:3e:00:00:0b", (IPv6Address("fd01::5"),), "other")
    found = rendered(dnsmasq_config(subnet_v6("v6", Mode.STATEFUL), hosts=(crowded, other)))
    first, second = found.hosts.splitlines()
    assert len(first) <= LONGEST_LINE
    assert first.startswith("fa:16:3e:00:00:0a,[fd01::1000],[fd01::1001],")
    assert first.endswith("],crowded")
    assert second == "fa:16:3e:00:00:0b,[fd01::5],other"
    assert found.left_out == (LeftOut("p", "fixed_ips: more IPv6 addresses than DHCP can hand out"),)


def test_routes_that_no_option_can_carry_are_left_out_neighbours_first() -> None:
    """dnsmasq would refuse the whole file, and the network would stay unserved from its 32nd subnet on."""
    metadata = StaticRoute(IPv4Network("169.254.169.254/32"), IPv4Address("10.0.0.2"))
    subnets = [
        Subnet(
            f"s{number}",
            IPv4Network(f"10.0.{number}.0/24"),
            IPv4Address(f"10.0.{number}.2"),
            Mode.DHCPV4,
            gateway=IPv4Address(f"10.0.{number}.1"),
            routes=(metadata,),
        )
        for number in range(60)
    ]

    found = rendered(dnsmasq_config(*subnets))

    lines = [line for line in found.own_options.splitlines() if "tag:subnet-s0,option:classless" in line]
    assert len(lines) == 1
    assert lines[0].endswith("10.0.59.0/24,0.0.0.0,169.254.169.254/32,10.0.0.2,0.0.0.0/0,10.0.0.1")
    assert all(line.count("/") <= 32 and len(line) < 1000 for line in found.own_options.splitlines())


def test_a_port_is_named_below_its_networks_domain_only() -> None:
    """Else a tenant of a shared network answers for everybody's bank."""
    named = Host("p", "fa:16:3e:00:00:09", (IPv4Address("10.1.0.5"),), "web", ("www.bank.example",))
    config = dnsmasq_config(subnet_v4(), hosts=(named,))

    found = rendered(config)

    below = config.domain
    assert found.names == f"10.1.0.5 web.{below} web www.bank.example.{below}\n"


@pytest.mark.parametrize("link", ["a\nb", "", "sixteencharacter", "a b", "a,b"])
def test_a_link_name_cannot_carry_syntax(link: str) -> None:
    with pytest.raises(ValueError, match="link"):
        rendered(dnsmasq_config(subnet_v4())).main(link, "root")


@pytest.mark.parametrize("domain", ["", "a b", "a\nb", "-a", "a..b", "a." * 130 + "a", "a/b"])
def test_a_domain_is_a_domain(domain: str) -> None:
    with pytest.raises(ValueError, match="domain"):
        DnsmasqConfig(OWN_MAC, domain)


def test_ids_cannot_carry_syntax() -> None:
    good = subnet_v4()
    with pytest.raises(ValueError, match="id"):
        Subnet("a,b", good.network, good.address, good.mode)
    with pytest.raises(ValueError, match="port_id"):
        Host("a\nb", "fa:16:3e:00:00:09", ())
    with pytest.raises(ValueError, match="mac"):
        Host("a", "fa:16:3e:00:00:09,x", ())
