"""Section [pool]: what operators write, and what they are told."""

from __future__ import annotations

import pytest

from astara.pool.deficit import Size
from astara.pool.options import Kind, sizes


def test_kinds_images_and_numbers_of_nics_have_sizes_of_their_own() -> None:
    written = {"microvm": "1..4", "container/frr-10": "2", "metal+3": "0 .. 1"}
    assert sizes(written) == {
        Kind("microvm"): Size(1, 4),
        Kind("container", "frr-10"): Size(2, 2),
        Kind("metal", None, 3): Size(0, 1),
    }


@pytest.mark.parametrize(
    ("name", "text"), [("microvm", "many"), ("microvm", "4..1"), ("microvm", "-1"), ("+3", "1"), ("micro vm", "1")]
)
def test_what_cannot_be_read_is_named(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"\[pool\] "):
        sizes({name: text})
