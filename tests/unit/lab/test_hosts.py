"""What a simulated machine may expect of its network."""

from __future__ import annotations

from typing import Any

import pytest

from astara_lab.hosts import Promised, promised_to


def subnet(identifier: str, cidr: str, mode: str | None = None, *, dhcp: bool = True) -> dict[str, Any]:
    version = 6 if ":" in cidr else 4
    modes = {"ipv6_ra_mode": mode, "ipv6_address_mode": mode}
    return {"id": identifier, "cidr": cidr, "ip_version": version, "enable_dhcp": dhcp, **modes}


V4 = subnet("v4", "10.0.0.0/24")
QUIET_V4 = subnet("quiet", "10.1.0.0/24", dhcp=False)
SLAAC = subnet("slaac", "2001:db8::/64", "slaac")
STATELESS = subnet("stateless", "2001:db8:1::/64", "dhcpv6-stateless")
STATEFUL = subnet("stateful", "2001:db8:2::/64", "dhcpv6-stateful")


@pytest.mark.parametrize(
    ("subnets", "expected"),
    [
        ([V4], Promised(dhcp_v4=True, slaac=(), dhcp_v6=False, dhcp_v6_stateless=False)),
        ([QUIET_V4], Promised(dhcp_v4=False, slaac=(), dhcp_v6=False, dhcp_v6_stateless=False)),
        ([V4, SLAAC], Promised(dhcp_v4=True, slaac=("2001:db8::/64",), dhcp_v6=False, dhcp_v6_stateless=False)),
        ([STATELESS], Promised(dhcp_v4=False, slaac=("2001:db8:1::/64",), dhcp_v6=False, dhcp_v6_stateless=True)),
        ([STATEFUL], Promised(dhcp_v4=False, slaac=(), dhcp_v6=True, dhcp_v6_stateless=False)),
    ],
)
def test_a_port_is_promised_what_the_subnets_of_its_addresses_offer(
    subnets: list[dict[str, Any]], expected: Promised
) -> None:
    port = {"fixed_ips": [{"subnet_id": s["id"], "ip_address": "x"} for s in subnets]}

    assert promised_to(port, [V4, QUIET_V4, SLAAC, STATELESS, STATEFUL]) == expected
