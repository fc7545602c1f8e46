"""A name an operator types means exactly one thing, or is refused."""

from __future__ import annotations

import pytest

from astara.admin.addressing import resource_meant
from astara.model.errors import Gone, Terminal
from astara.model.operator import ResourceLine
from astara.model.resource import ResourceKey

LINES = tuple(
    ResourceLine(key=key, name=name, project_id="p", phase="settled")
    for key, name in (("router/abc1", "one"), ("router/abd2", "two"), ("network/abc1", "abd2"), ("router/ffff", "two"))
)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("router/abc1", ResourceKey("router", "abc1")),
        ("one", ResourceKey("router", "abc1")),
        ("ff", ResourceKey("router", "ffff")),
        ("network/ab", ResourceKey("network", "abc1")),
        ("abd2", ResourceKey("network", "abc1")),  # a name wins over the start of an id
    ],
)
def test_key_name_and_start_of_id_find_the_resource(text: str, key: ResourceKey) -> None:
    assert resource_meant(LINES, text) == key


@pytest.mark.parametrize("text", ["ab", "abc1", "two", "router/ab", ""])
def test_what_fits_several_is_refused_and_lists_them(text: str) -> None:
    with pytest.raises(Terminal, match="could be"):
        resource_meant(LINES, text)


@pytest.mark.parametrize("text", ["zz", "router", "router/zz", "rou"])
def test_what_fits_nothing_is_gone(text: str) -> None:
    with pytest.raises(Gone):
        resource_meant(LINES, text)
