"""Seeds that once broke a law, played again inside a lab of profile cluster: `make chaos-seeds`."""

from __future__ import annotations

import pytest
from rich.console import Console

from astara_lab.places import POD_MARKER, find_lab
from chaos.laws import judge
from chaos.run import Asked, Chaos
from chaos.seeds import SEEDS, Seed

# The laws judge, not what libraries say in threads whose connections are cut.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]


@pytest.mark.parametrize("seed", SEEDS, ids=[seed.was_wrong for seed in SEEDS])
def test_a_seed_that_broke_a_law_breaks_none_any_more(seed: Seed):
    if not POD_MARKER.exists():
        pytest.skip("runs inside a lab of profile cluster: make chaos-seeds")
    history = Chaos(find_lab("cluster"), Asked(seed.seed, seconds=0.0, only=seed.only), Console(stderr=True)).play()
    assert {finding.law: finding.broken for finding in judge(history) if not finding.holds} == {}
