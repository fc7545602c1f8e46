from __future__ import annotations

from astara.model.resource import ResourceKey
from astara.planning.brake import Brake, judge
from astara.planning.policy import BrakePolicy

POLICY = BrakePolicy(fraction=0.3, at_least=5, window_s=600.0)
KEYS = [ResourceKey("router", f"r{n}") for n in range(100)]


def silent(count: int, since: float = 1000.0) -> dict[ResourceKey, float]:
    return dict.fromkeys(KEYS[:count], since)


def test_few_or_a_small_part_do_not_engage_it():
    assert not judge(Brake(), silent(4), 4, 1000.0, POLICY).engaged
    assert not judge(Brake(), silent(30), 100, 1000.0, POLICY).engaged
    assert judge(Brake(), silent(31), 100, 1000.0, POLICY).engaged


def test_deaths_spread_over_days_are_deaths():
    spread = {key: 1000.0 * n for n, key in enumerate(KEYS[:60])}
    assert not judge(Brake(), spread, 100, 60_000.0, POLICY).engaged


def test_it_stays_engaged_beyond_the_window_while_they_are_silent():
    brake = judge(Brake(), silent(50), 100, 1000.0, POLICY)
    assert judge(brake, silent(50), 100, 99_000.0, POLICY).engaged


def test_it_releases_itself_when_they_answer_again():
    brake = judge(Brake(), silent(50), 100, 1000.0, POLICY)
    assert not judge(brake, silent(3), 100, 2000.0, POLICY).engaged


def test_the_operators_release_holds_for_those_silent_until_then():
    brake = judge(Brake(), silent(50), 100, 1000.0, POLICY).released(1100.0)
    assert not judge(brake, silent(50), 100, 1200.0, POLICY).engaged
    assert judge(brake, silent(50, since=1300.0), 100, 1300.0, POLICY).engaged


def test_the_reason_names_numbers_and_the_remedy():
    reason = judge(Brake(), silent(50), 100, 1000.0, POLICY).reason
    assert "50 of 100" in reason
    assert "astara brake release" in reason
