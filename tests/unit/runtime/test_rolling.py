"""What operators are told of nodes and upgrades."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from astara.runtime.rolling import Rolling


def rolling(reason: str, *, mine: bool, keeper: str | None) -> Rolling:
    ownership = SimpleNamespace(owns=lambda key: mine)
    engine: Any = SimpleNamespace(share=SimpleNamespace(ownership=ownership))
    evacuation: Any = SimpleNamespace(brake=reason)
    return Rolling(engine, evacuation, list, lambda key: keeper, "a")


@pytest.mark.parametrize(
    ("reason", "mine", "keeper", "told"),
    [
        ("", False, "b", ""),
        ("most are silent", True, "a", "most are silent"),
        ("most are silent", False, "b", "most are silent at orchestrator b, which keeps the nodes"),
        ("most are silent", False, None, "most are silent"),
    ],
)
def test_the_brake_says_at_whom_it_is_to_be_released(reason: str, mine: bool, keeper: str | None, told: str) -> None:
    assert rolling(reason, mine=mine, keeper=keeper).node_brake == told
