"""Missing capacity, a wish that cannot be met, and a cloud that is away are three things."""

from __future__ import annotations

import pytest

from astara.model.errors import Gone, Retry, Terminal
from astara.providers.nova.refusals import CAPACITY_AFTER_S, is_capacity, no_room, refusal

NOVA_QUOTA = "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"
NEUTRON_QUOTA = "Quota exceeded for resources: ['port']."


@pytest.mark.parametrize(("status", "words"), [(403, NOVA_QUOTA), (409, NEUTRON_QUOTA), (413, NOVA_QUOTA)])
def test_a_used_up_quota_is_tried_again_after_long_and_says_what_to_do(status: int, words: str) -> None:
    error = refusal("POST /servers", status, words)
    assert isinstance(error, Retry)
    assert error.after_s == CAPACITY_AFTER_S
    assert "quota" in error.remedy


@pytest.mark.parametrize("status", [401, 408, 409, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again_soon(status: int) -> None:
    error = refusal("POST /servers", status, "busy")
    assert isinstance(error, Retry)
    assert error.after_s is None


@pytest.mark.parametrize(("status", "words"), [(400, "Invalid imageRef provided."), (403, "Policy doesn't allow it")])
def test_what_can_never_succeed_is_terminal_with_novas_words(status: int, words: str) -> None:
    error = refusal("POST /servers", status, words)
    assert isinstance(error, Terminal)
    assert words in str(error)


def test_what_is_not_there_is_gone() -> None:
    assert isinstance(refusal("DELETE", 404, ""), Gone)


def test_no_valid_host_is_capacity_and_another_fault_is_not() -> None:
    assert is_capacity("No valid host was found. There are not enough hosts available.")
    assert not is_capacity("Build of instance aborted: Virtual Interface creation failed")
    assert "compute hosts" in no_room("No valid host was found.", 17.0).remedy
