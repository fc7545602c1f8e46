"""Plugging simulated machines into bridges that come and go with the node agent's own ports."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator

import pytest

from astara.host import links
from astara.host.attach.bridge import bridge_name
from astara_lab.plug import BridgePlug, Outlet, PlugError

pytestmark = pytest.mark.kernel


class _Contended(BridgePlug):
    """Somebody unplugs the network's last port, and with it the bridge, just before we plug ours."""

    def __init__(self, times: int) -> None:
        self.left = times

    def _bridge(self, network_id: str) -> str:
        name = super()._bridge(network_id)
        if self.left:
            self.left -= 1
            links.remove(name)
        return name


@pytest.fixture
def outlet() -> Iterator[Outlet]:
    made = Outlet(str(uuid.uuid4()), str(uuid.uuid4()), f"astara-plug-{uuid.uuid4().hex[:6]}", 1450)
    yield made
    BridgePlug().unplug(made)


def test_a_bridge_that_vanishes_meanwhile_is_made_again(outlet: Outlet) -> None:
    _Contended(times=2).plug(outlet)

    shown = subprocess.run(["ip", "link", "show", outlet.link], capture_output=True, text=True, check=True).stdout
    assert f"master {bridge_name(outlet.network_id)}" in shown


def test_a_bridge_that_never_stays_is_an_error_and_not_an_endless_loop(outlet: Outlet) -> None:
    with pytest.raises(PlugError):
        _Contended(times=1000).plug(outlet)
