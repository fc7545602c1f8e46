"""Times read as people say them."""

from __future__ import annotations

import pytest

from astara.admin.words import ago, duration, moment


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


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90 s", 1910.0),
        ("30min", 200.0),
        ("0.5h", 200.0),
        ("1970-01-01T00:10", 600.0),
        ("1970-01-01T02:10+02:00", 600.0),
        ("1970-01-02", 86400.0),
    ],
)
def test_a_moment_is_so_long_ago_or_a_time(text: str, at: float) -> None:
    assert moment(text, 2000.0) == at


@pytest.mark.parametrize("text", ["", "yesterday", "2 fortnights", "-3h"])
def test_what_is_no_moment_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match="30min, 2h"):
        moment(text, 2000.0)
