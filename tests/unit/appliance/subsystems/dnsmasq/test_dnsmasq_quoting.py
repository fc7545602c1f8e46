"""A tenant's words become one literal line, or none."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astara.appliance.subsystems.dnsmasq.config import PortOption
from astara.appliance.subsystems.dnsmasq.quoting import option_line

QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


@pytest.mark.parametrize(
    ("option", "line"),
    [
        (PortOption("bootfile-name", "pxelinux.0", 4), "tag:t,option:bootfile-name,pxelinux.0"),
        (PortOption("150", "10.0.0.9", 4), "tag:t,150,10.0.0.9"),
        (PortOption("ntp-server", "10.0.0.8,10.0.0.9", 4), "tag:t,option:ntp-server,10.0.0.8,10.0.0.9"),
        (PortOption("tag:ipxe,bootfile-name", "http://x/y", 4), "tag:t,tag:ipxe,option:bootfile-name,http://x/y"),
        (PortOption("tag:!ipxe,bootfile-name", "x", 4), "tag:t,tag:!ipxe,option:bootfile-name,x"),
        (PortOption("router", "", 4), "tag:t,option:router"),
        (PortOption("dns-server", "fd00::1,[fd00::2]", 6), "tag:t,option6:dns-server,[fd00::1],[fd00::2]"),
        (PortOption("59", "tftp://x", 6), "tag:t,option6:59,tftp://x"),
        (PortOption("bootfile-url", "tftp://[fd00::1]/x", 6), 'tag:t,option6:bootfile-url,"tftp://[fd00::1]/x"'),
        (PortOption("domain-name", 'a "b" \\c', 4), 'tag:t,option:domain-name,"a \\"b\\" \\\\c"'),
    ],
)
def test_trap_an_option_is_named_as_its_ip_version_wants(option: PortOption, line: str) -> None:
    """DHCPv4 option names in DHCPv6."""
    assert option_line("t", option) == line


@pytest.mark.parametrize(
    "option",
    [
        PortOption("router\ndhcp-script=/x", "1", 4),
        PortOption("router", "1\ndhcp-script=/x", 4),
        PortOption("router", "1\rdhcp-script=/x", 4),
        PortOption("router", "1\x00", 4),
        PortOption("router", "1\u2028x", 4),
        PortOption("tag:a,tag:b,router", "1", 4),
        PortOption("option:router", "1", 4),
        PortOption("encap:1,router", "1", 4),
        PortOption("", "1", 4),
        PortOption("#x", "1", 4),
        PortOption("router", "1", 5),
    ],
)
def test_trap_injection_what_no_line_can_carry_is_left_out(option: PortOption) -> None:
    """Octavia LP 2162101, 2162103."""
    assert option_line("t", option) is None


@pytest.mark.parametrize("value", ["x" * 1000, "é" * 500, '"' * 500, "\U0001f600" * 240 + ",x3,10.0.0.66"])
def test_trap_injection_a_line_that_dnsmasq_would_cut_in_two_is_left_out(value: str) -> None:
    """It reads 1024 bytes as a line; the rest would be an option for everybody on the network."""
    assert option_line(f"port-{'0' * 36}", PortOption("ntp-server", value, 4)) is None
    assert option_line(f"port-{'0' * 36}", PortOption("ntp-server", value[:200], 4)) is not None


@given(st.text(), st.text(), st.sampled_from([4, 6]))
def test_whatever_a_tenant_says_is_one_line_for_its_own_tag(name: str, value: str, ip_version: int) -> None:
    line = option_line("mine", PortOption(name, value, ip_version))

    if line is None:
        return
    assert line.isprintable()
    assert line.startswith("tag:mine,")
    outside_quotes = QUOTED.sub("", line)
    assert '"' not in outside_quotes
    assert "#" not in outside_quotes
    assert " " not in outside_quotes
