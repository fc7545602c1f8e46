"""Servers that wait: a router asked for gets one that has booted before anybody asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from astara_lab.control import Control
from astara_lab.hosts import Hosts, OutsideHost
from astara_lab.places import Lab
from astara_lab.pod import Pod
from astara_lab.profiles.astara import restarted
from astara_lab.waiting import until
from e2e_cloud.conftest import BOOT_S
from e2e_cloud.test_nova_routers import NOVA_FLAVOR, Ours, ask, ours, outer

__all__ = ["ours", "outer"]

pytestmark = pytest.mark.e2e


@pytest.fixture
def pool(lab: Lab, ours: Ours) -> Iterator[None]:
    """The orchestrator keeps one spare, until the test is over."""
    conf, control = lab.etc / "astara.conf", Control(Pod(lab))
    plain = conf.read_text()
    conf.write_text(f"{plain}\n[pool]\nnova = 1..1\n")
    restarted(control, "orchestrator", BOOT_S)
    yield
    conf.write_text(plain)
    restarted(control, "orchestrator", BOOT_S)
    for spare in spares(ours):
        ours.connection.compute.delete_server(spare.id)


def spares(ours: Ours) -> list[Any]:
    return [one for one in ours.servers() if one.metadata["astara:key"].startswith("spare/")]


def ready() -> bool:
    answer = ask("pool", "--json")
    return answer.exit_code == 0 and any(line["ready"] for line in json.loads(answer.output))


def test_a_spare_becomes_the_router_that_is_asked_for(
    lab: Lab,
    cloud: Any,
    ours: Ours,
    outer: OutsideHost,
    pool: None,
    record_property: Callable[[str, object], None],
) -> None:
    """It is plugged, configured and forwards, and the next spare is made after it."""
    until("a spare whose agent answers", ready, BOOT_S, 0.5)
    (spare,) = spares(ours)
    room = Hosts(lab)
    net = cloud.routed("warm", "10.9.8.0/24")
    guest = room.add("guest", net.id, project=cloud.project)
    try:
        subnet = next(iter(cloud.network.subnets(network_id=net.id)))
        router = cloud.router("warm", flavor_id=cloud.network.find_flavor(NOVA_FLAVOR).id)
        began = time.monotonic()
        cloud.network.add_interface_to_router(router, subnet_id=subnet.id)
        record_property("warm_interface_added_s", round(time.monotonic() - began, 1))
        until("a packet outside and back", lambda: guest.ping("198.51.100.1", 0.3) is not None, BOOT_S, 0.05)
        record_property("warm_forwards_s", round(time.monotonic() - began, 1))

        assert [one.id for one in ours.servers(router.id)] == [spare.id]
        until("another spare", lambda: [one.id for one in spares(ours)] not in ([], [spare.id]), BOOT_S, 0.5)
    finally:
        room.delete("guest")
