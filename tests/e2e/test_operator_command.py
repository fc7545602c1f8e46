"""The operator's command against the running orchestrator of the lab."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from astara.admin.cli import cli
from astara.contract.codec import convert
from astara.model.operator import AuditLine, ResourceDetail, StatusSummary
from astara_lab.places import ADMIN_SOCKET
from astara_lab.waiting import until

pytestmark = pytest.mark.e2e


def ask(*words: str) -> Result:
    return CliRunner().invoke(cli, ["--socket", str(ADMIN_SOCKET), *words], prog_name="astara")


def test_status_and_doctor_find_the_lab_in_good_health(cloud: Any) -> None:
    summary = convert(json.loads(ask("status", "--json").output), StatusSummary)
    assert summary.neutron == "ok"
    assert [node.reachable for node in summary.nodes] == [True]
    examined = ask("doctor")
    assert examined.exit_code == 0, examined.output


def test_a_router_is_found_by_name_and_held_until_released(cloud: Any) -> None:
    made = cloud.router("held-by-name")

    def shown() -> ResourceDetail | None:
        answer = ask("resource", "show", "held-by-name", "--json")
        return convert(json.loads(answer.output), ResourceDetail) if answer.exit_code == 0 else None

    detail = until("the router to be known by name", shown, 10.0)
    assert detail.resource.key == f"router/{made.id}"
    until("the router to be configured", lambda: (d := shown()) and d.resource.phase == "configured", 10.0)

    assert ask("hold", "held-by-name", "--reason", "a test").exit_code == 0
    cloud.network.update_router(made.id, admin_state_up=False)
    until("the wish to be seen and left alone", lambda: (d := shown()) and d.resource.phase == "outdated", 10.0)
    assert ask("release", "held-by-name").exit_code == 0
    until("the wish to be carried out", lambda: (d := shown()) and d.resource.phase == "configured", 10.0)

    audited = convert(json.loads(ask("audit", "--resource", "held-by-name", "--json").output), tuple[AuditLine, ...])
    assert [line.steps for line in audited if line.who.startswith("uid 0 (root)")] == [("hold: a test",), ("release",)]
    ours = [line for line in audited if line.who.startswith("orchestrator ")]
    assert "create instance" in " ".join(ours[0].steps)
    assert ours[-1].generation is not None


def test_a_rebuilt_router_is_a_new_instance_and_serves_again(cloud: Any) -> None:
    cloud.router("rebuilt")

    def instance() -> tuple[str, float, str] | None:
        answer = ask("resource", "show", "rebuilt", "--json")
        if answer.exit_code != 0:  # not heard of yet
            return None
        detail = convert(json.loads(answer.output), ResourceDetail)
        return next(((line.id, line.created_at, line.health) for line in detail.instances), None)

    before = until("the first instance", lambda: (i := instance()) and i[2] == "healthy" and i, 15.0)
    assert ask("rebuild", "rebuilt").exit_code == 0
    until(
        "its successor, healthy",
        lambda: (now := instance()) and now[1] > before[1] and now[2] == "healthy",
        15.0,
    )
