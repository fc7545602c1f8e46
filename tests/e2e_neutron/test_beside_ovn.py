"""A router of our flavor beside OVN's own, on one ML2/OVN cloud: each is its maker's, and both forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from astara_lab.hosts import Host, OutsideHost
from astara_lab.listeners import http_server
from astara_lab.waiting import until
from e2e.test_nat import OUTSIDE, gateway_v4, seen_by
from e2e_neutron.conftest import open_group
from e2e_neutron.sight import Traces, logical_routers, namespaces_of, operator, udp_listeners

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.usefixtures("ovn_only")]

_DHCP, _DHCPV6 = 67, 547


def test_each_router_is_its_makers_and_both_forward(
    site: Any, cloud: Any, hosts: Callable[..., Host], outside: OutsideHost
) -> None:
    theirs = cloud.router("theirs")
    group = open_group(cloud)
    neighbour = hosts(
        "neighbour", cloud.routed("theirs", "10.9.4.0/24", router=theirs), security_groups=[group.id], deadline_s=40.0
    )

    assert theirs.id in logical_routers()
    assert site.router.id not in logical_routers()
    assert not namespaces_of(theirs.id)
    assert len(namespaces_of(site.router.id)) == 1
    floating = cloud.floating_ip(neighbour)
    with http_server(outside, 80), http_server(neighbour, 80):
        until("OVN's floating IP", lambda: seen_by(floating.floating_ip_address, outside) == OUTSIDE, 20.0)
        # Each leaves under its own router's address, and they meet outside.
        assert seen_by(OUTSIDE, neighbour) == floating.floating_ip_address
        until("our SNAT", lambda: seen_by(OUTSIDE, site.db) == gateway_v4(site.cloud, site.router), 20.0)
        assert seen_by(floating.floating_ip_address, site.db) == gateway_v4(site.cloud, site.router)


def test_dhcp_is_ovns_and_nothing_of_ours_answers_it(site: Any) -> None:
    for host, net in ((site.web, site.blue), (site.db, site.green)):
        assert host.lease["ip"] == str(host.address(4))
        assert not list(site.cloud.network.ports(network_id=net.id, device_owner="network:dhcp"))
    assert not [line for line in operator("instance", "list") if line["resource"].startswith("network/")]
    for namespace in Traces.now().namespaces:
        assert not {_DHCP, _DHCPV6} & udp_listeners(namespace)


def test_metadata_on_ovn_is_not_ours_and_asking_for_it_does_not_leave_the_cloud(
    site: Any, outside: OutsideHost
) -> None:
    """It belongs to OVN's metadata agent, which this lab leaves out. RFC 3927, 2.7: never forwarded."""
    outside.add_address("169.254.169.254/32")
    with http_server(outside, 80):
        until("SNAT", lambda: seen_by(OUTSIDE, site.web) == gateway_v4(site.cloud, site.router), 20.0)
        assert seen_by("169.254.169.254", site.web) is None
