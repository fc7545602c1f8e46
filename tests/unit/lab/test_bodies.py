"""What a lab says when the bodies that are asked of it cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from astara_lab import bodies, ini
from astara_lab.places import Lab
from astara_lab.tasks import BringUpError
from astara_lab.variant import Variant


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path / "lab", "embedded")
    made.make_directories()
    return made


def test_namespaces_need_nothing(lab: Lab) -> None:
    assert bodies.tasks_of(lab, Variant()) == []
    assert bodies.template(lab, Variant()) == []


@pytest.mark.parametrize("variant", [Variant(body="container"), Variant(network_body="microvm")])
def test_other_bodies_need_an_image_and_say_so(lab: Lab, variant: Variant) -> None:
    with pytest.raises(BringUpError, match="--image"):
        bodies.tasks_of(lab, variant)


def test_an_image_that_is_not_there_is_told_with_what_makes_it(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(BringUpError, match="make image"):
        bodies.tasks_of(lab, Variant(body="container", image=tmp_path))


def test_what_a_lab_runs_in_is_what_its_orchestrator_was_told(lab: Lab) -> None:
    assert bodies.body_of(lab) == "namespace"
    ini.write(lab.etc / "astara.conf", {"services": {"default_provider": "microvm", "providers": ("a", "b")}})
    assert bodies.body_of(lab) == "microvm"


def test_networks_are_what_routers_are_unless_they_are_said_to_be_something_else() -> None:
    assert Variant(body="microvm").of_networks == "microvm"
    assert Variant(body="microvm", network_body="namespace").of_networks == "namespace"
