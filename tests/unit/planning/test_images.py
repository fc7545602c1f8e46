"""Which image somebody means."""

from __future__ import annotations

import pytest

from astara.model.errors import Terminal
from astara.planning.images import NodeImages, Target, meant

OLD, NEW = "sha256:aaaaaa1111", "sha256:bbbbbb2222"
N1 = NodeImages("n1", {"microvm": ("astara", "next"), "namespace": ()}, {"microvm": {"astara": OLD, "next": NEW}})
N2 = NodeImages("n2", {"namespace": ()})
TARGET = Target("microvm", "next", NEW)


@pytest.mark.parametrize("text", ["next", NEW, "sha256:bbbbbb", "bbbbbb2"])
def test_by_name_by_digest_or_by_its_beginning(text):
    assert meant(text, None, [N1, N2]) == TARGET


@pytest.mark.parametrize("text", ["sha256:cccccc", "nxt", "bbb", ""])
def test_what_nobody_has_is_refused_with_what_each_node_has(text):
    with pytest.raises(Terminal, match="no node that answers has an image") as refused:
        meant(text, None, [N1, N2])
    assert refused.value.remedy == f"they have: n1: microvm astara {OLD}, microvm next {NEW}; n2: none"


def test_every_node_that_makes_such_instances_must_have_it():
    n3 = NodeImages("n3", {"microvm": ("astara",)}, {"microvm": {"astara": OLD}})
    with pytest.raises(Terminal, match="n3 has no microvm image next"):
        meant("next", None, [N1, n3])


def test_one_name_with_two_contents_is_two_images():
    n3 = NodeImages("n3", {"microvm": ("next",)}, {"microvm": {"next": "sha256:dddddd3333"}})
    with pytest.raises(Terminal, match="more than one image") as refused:
        meant("next", None, [N1, n3])
    assert "name a digest" in refused.value.remedy


def test_one_name_of_two_bodies_is_told_apart_by_the_body():
    n3 = NodeImages("n3", {"container": ("next",), "microvm": ("next",)}, {"microvm": {"next": NEW}})
    with pytest.raises(Terminal, match="more than one image") as refused:
        meant("next", None, [n3])
    assert refused.value.remedy == "say which by --body"
    assert meant("next", "container", [n3]) == Target("container", "next", None)
