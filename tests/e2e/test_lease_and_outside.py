"""The shortest way through everything: a router asked of Neutron, and packets that prove it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from astara_lab.hosts import Host, OutsideHost
from astara_lab.listeners import http_server

pytestmark = pytest.mark.e2e


def test_a_machine_gets_its_lease_and_reaches_the_outside_through_snat(
    cloud: Any, hosts: Callable[..., Host], outside: OutsideHost
) -> None:
    router = cloud.router("r")
    net = cloud.routed("blue", "10.9.0.0/24", router=router)

    host = hosts("a", net)

    assert host.lease["router"] == "10.9.0.1"
    with http_server(outside, 80):
        seen = host.fetch("http://198.51.100.1/").text
    gateway = cloud.network.get_router(router.id).external_gateway_info["external_fixed_ips"]
    assert seen in [fixed["ip_address"] for fixed in gateway]
    cloud.await_status("router", router)
