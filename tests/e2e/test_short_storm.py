"""A short storm with a fixed seed; `make storm` blows longer and with any."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from astara_lab.places import Lab
from storm.run import Weather, storm
from storm.verdict import show

SHORT = Weather(seed="short", seconds=10.0, stills=1, every_s=0.02, rest_s=90.0, samples=2)


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_ten_seconds_of_kills_under_changes_cost_untouched_routers_nothing_and_end_in_neutrons_wish(
    lab: Lab, body: str
) -> None:
    if lab.profile != "embedded":
        pytest.skip("the userspace switch of that profile drops packets by itself on a busy machine: make storm")
    if body == "microvm":
        pytest.skip("the checker reads the node's kernel, which does not know what is inside a machine")
    written = Console(file=io.StringIO(), width=160)
    verdict = storm(lab, SHORT, written)
    show(verdict, written)
    assert isinstance(written.file, io.StringIO)
    assert verdict.ok, written.file.getvalue()
