"""What Astara gives machines of Nova's: their addresses, their floating IPs, and metadata that knows who asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from astara_lab.hosts import OutsideHost
from astara_lab.waiting import until
from e2e_cloud.conftest import BOOT_S

pytestmark = pytest.mark.e2e


def test_a_machine_of_novas_answers_on_its_floating_ip_and_nova_told_it_who_it_is(
    cloud: Any, boot: Callable[..., Any], outside: OutsideHost
) -> None:
    """The metadata went through Astara's proxy, which signs for the instance; Nova refuses a wrong signature."""
    router = cloud.router("edge")
    blue = cloud.routed("blue", "10.9.1.0/24", router=router)
    port = cloud.network.create_port(network_id=blue.id, project_id=cloud.project)
    server = boot("web", port)
    floating = cloud.network.create_ip(
        floating_network_id=cloud.external.id, project_id=cloud.project, port_id=port.id
    ).floating_ip_address

    def told() -> Any:
        try:
            answer = outside.fetch(f"http://{floating}/meta_data.json", timeout_s=3.0)
        except OSError:
            return None
        return answer.text if answer.status == 200 else None

    metadata = until("the guest shows what it was told", told, BOOT_S)

    assert f'"uuid": "{server.id}"' in metadata
    assert f'"project_id": "{cloud.project}"' in metadata
