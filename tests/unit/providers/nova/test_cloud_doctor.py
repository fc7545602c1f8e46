"""What the doctor says of a cloud, from the answers of its APIs."""

from __future__ import annotations

from typing import Any

import pytest

from astara.model.errors import Gone, Retry
from astara.providers.nova import checks, doctor
from astara.providers.nova.boundary import Finding
from astara.providers.nova.options import Choice

CHOICE = Choice("appliance", "small", "management")
LIMITS: dict[str, Any] = {
    "totalInstancesUsed": 1,
    "maxTotalInstances": 10,
    "totalCoresUsed": 1,
    "maxTotalCores": -1,
    "totalRAMUsed": 256,
    "maxTotalRAMSize": 51200,
    "totalServerGroupsUsed": 0,
    "maxServerGroups": 10,
    "maxPersonality": 5,
    "maxPersonalitySize": 10240,
}


def findings(**changes: Any) -> dict[str, Finding]:
    answers: dict[str, Any] = {
        "/v2/images": {"images": [{"id": "i", "name": "appliance", "status": "active", "astara_digest": "sha256:1"}]},
        "/flavors/detail": {"flavors": [{"id": "1", "name": "small", "ram": 256, "vcpus": 1}]},
        "/v2.0/networks": {"networks": [{"id": "n", "name": "management", "subnets": ["s"]}]},
        "/limits": {"limits": {"absolute": LIMITS}},
        "/v2.0/quotas/p/details.json": {"quota": {"port": {"used": 3, "reserved": 0, "limit": 100}}},
    } | changes

    def call(service: str, method: str, path: str, body: Any = None, query: Any = None) -> Any:
        if path not in answers:
            raise Gone(path)
        if isinstance(answers[path], Exception):
            raise answers[path]
        return answers[path]

    return {one.what: one for one in doctor.shortcomings(call, CHOICE, "p")}


def test_a_cloud_that_has_everything_is_fine() -> None:
    assert [one for one in findings().values() if one.remedy is not None] == []


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("image", {"/v2/images": {"images": []}}),
        ("image", {"/v2/images": {"images": [{"id": "i", "name": "appliance", "status": "queued"}]}}),
        ("flavor", {"/flavors/detail": {"flavors": []}}),
        ("flavor", {"/flavors/detail": {"flavors": [{"id": "1", "name": "small", "ram": 64, "vcpus": 1}]}}),
        ("management network", {"/v2.0/networks": {"networks": []}}),
        ("management network", {"/v2.0/networks": {"networks": [{"id": "n", "name": "management", "subnets": []}]}}),
        ("quota instances", {"/limits": {"limits": {"absolute": LIMITS | {"totalInstancesUsed": 9}}}}),
        ("quota files", {"/limits": {"limits": {"absolute": LIMITS | {"maxPersonality": 0}}}}),
        ("quota ports", {"/v2.0/quotas/p/details.json": {"quota": {"port": {"used": 9, "reserved": 1, "limit": 10}}}}),
    ],
)
def test_what_is_missing_or_scarce_is_said_with_a_remedy(what: str, changes: dict[str, Any]) -> None:
    found = findings(**changes)
    assert [one.what for one in found.values() if one.remedy] == [what]


def test_what_is_named_by_its_id_is_found() -> None:
    changes = {"/v2/images": {"images": []}, "/v2/images/appliance": {"id": "appliance", "status": "active"}}
    assert findings(**changes)["image"].remedy is None


def test_a_cloud_that_does_not_answer_is_a_line_too() -> None:
    class Away:
        def shortcomings(self) -> Any:
            raise Retry("no answer", "see that Nova answers")

    (line,) = checks.examine(Away())  # type: ignore[arg-type]  # as much of a cloud as is asked
    assert (line.ok, line.detail, line.remedy) == (False, "no answer", "see that Nova answers")
