"""Times read as people say them."""

from __future__ import annotations

import pytest

from astara.admin.words import ago, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1.0, "0 s"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (59.9, "60 s"),
        (60.0, "1 min"),
        (185.0, "3 min 5 s"),
        (7200.0, "2 h"),
        (187200.0, "2 d 4 h"),
    ],
)
def test_a_duration_names_its_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_what_never_happened_is_never_and_not_an_age() -> None:
    assert ago(100.0, None) == "never"
    assert ago(100.0, 97.5) == "2.5 s ago"
