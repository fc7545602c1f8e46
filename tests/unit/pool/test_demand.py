"""How many spares the requests of the last hours would have needed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from astara.pool.demand import Demand, DemandPolicy, found, needed, requested

POLICY = DemandPolicy(half_life_s=3600.0)
REFILL_S = 10.0
MOST = 8
gaps = st.lists(st.floats(0.0, 7200.0), max_size=40)


def after(pauses: list[float], most: int = MOST) -> tuple[Demand, float]:
    demand, now = Demand(), 0.0
    for pause in pauses:
        now += pause
        demand = requested(demand, now, REFILL_S, POLICY, most)
    return demand, now


def test_nobody_asked_so_nothing_is_needed() -> None:
    assert needed(Demand(), 0.0, POLICY) == 0


def test_one_request_is_remembered_for_hours_and_forgotten_in_the_end() -> None:
    demand, now = after([5.0])
    assert needed(demand, now, POLICY) == 1
    assert needed(demand, now + 4 * 3600.0, POLICY) == 1
    assert needed(demand, now + 5 * 3600.0, POLICY) == 0


def test_requests_further_apart_than_a_refill_need_one_spare_however_many_they_are() -> None:
    demand, now = after([11.0] * 30)
    assert needed(demand, now, POLICY) == 1


def test_a_burst_needs_as_many_as_came_within_one_refill() -> None:
    demand, now = after([100.0, 0.1, 0.1, 0.1, 0.1])
    assert needed(demand, now, POLICY) == 5


def test_a_rare_burst_is_outvoted_by_many_single_requests() -> None:
    demand, now = after([100.0, 0.1, 0.1, 0.1] + [30.0] * 80)
    assert needed(demand, now, POLICY) == 1


@given(gaps, st.integers(1, MOST))
def test_never_more_than_the_ceiling(pauses: list[float], most: int) -> None:
    demand, now = after(pauses, most)
    assert 0 <= needed(demand, now, POLICY) <= most


@given(gaps, st.floats(0.0, 1e6), st.floats(0.0, 1e6))
def test_silence_never_raises_it(pauses: list[float], one: float, more: float) -> None:
    demand, now = after(pauses)
    assert needed(demand, now + one + more, POLICY) <= needed(demand, now + one, POLICY)


@given(gaps)
def test_in_the_end_silence_leaves_nothing(pauses: list[float]) -> None:
    demand, now = after(pauses)
    assert needed(demand, now + 1e6, POLICY) == 0


@given(gaps, st.integers(0, MOST))
def test_what_an_empty_memory_finds_counts_as_needed_before(pauses: list[float], spares: int) -> None:
    assert needed(found(Demand(), spares, 0.0, POLICY), 0.0, POLICY) == spares
    demand, now = after(pauses)
    both = found(demand, spares, now, POLICY)
    assert needed(found(both, 0, now, POLICY), now, POLICY) == needed(both, now, POLICY)
    assert sum(both.weights) >= spares
