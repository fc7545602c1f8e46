from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from astara.planning.backoff import Attempts, Failure, FailureKind, delay_s, rebuild_allowed_at
from astara.planning.classify import Phase
from astara.planning.policy import BackoffPolicy, Policy

POLICY = Policy()
AWAY = Failure(FailureKind.RETRY, "away")
REFUSED = Failure(FailureKind.TERMINAL, "refused")


@given(st.integers(0, 10_000), st.floats(0, 0.999), st.sampled_from([AWAY, REFUSED]))
def test_a_delay_is_positive_capped_and_at_most_jittered_shorter(tries, random_value, failure):
    policy = BackoffPolicy()
    cap = policy.terminal_cap_s if failure is REFUSED else policy.retry_cap_s
    assert 0 < delay_s(tries, failure, policy, random_value) <= cap
    assert delay_s(tries, failure, policy, random_value) >= (1 - policy.jitter) * delay_s(tries, failure, policy, 0.0)


def test_delays_double_and_a_refusal_is_far_more_patient():
    policy = BackoffPolicy()
    assert [delay_s(n, AWAY, policy, 0.0) for n in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [delay_s(n, REFUSED, policy, 0.0) for n in range(4)] == [15, 30, 60, 120]


def test_what_the_other_side_asks_for_is_never_undercut():
    assert delay_s(0, Failure(FailureKind.RETRY, "busy", after_s=90.0), BackoffPolicy(), 0.9) == 90.0


def test_a_new_wish_is_tried_at_once_but_keeps_its_deadline_and_its_rebuilds():
    tired = Attempts(wish="one", tries=4, not_before=99.0, phase=Phase.SILENT, since=3.0, rebuilds=(1.0,))
    fresh = tired.noticed(Phase.SILENT, "two", 50.0)
    assert (fresh.tries, fresh.not_before, fresh.since, fresh.rebuilds) == (0, 0.0, 3.0, (1.0,))


def test_a_fruitless_success_counts__the_first_repetition_is_free():
    once = Attempts().succeeded(10.0, POLICY.backoff, 0.0)
    twice = once.succeeded(10.0, POLICY.backoff, 0.0)
    thrice = twice.succeeded(10.0, POLICY.backoff, 0.0)
    assert [a.not_before for a in (once, twice, thrice)] == [10.0, 11.0, 12.0]


def test_being_seen_settled_forgets_the_tries():
    assert Attempts(wish="w", tries=7, not_before=9e9).noticed(Phase.CONFIGURED, "w", 1.0).tries == 0


def test_a_replaced_instance_gets_a_whole_deadline_of_its_own():
    attempts = Attempts(phase=Phase.SILENT, since=1.0).rebuilding(500.0, POLICY)
    assert attempts.noticed(Phase.SILENT, "", 505.0).since == 505.0


def test_replacements_space_out_and_end_with_the_budget_until_the_window_moves_on():
    attempts, now, gaps = Attempts(), 0.0, []
    for _ in range(POLICY.rebuild_budget):
        at = rebuild_allowed_at(attempts, now, POLICY)
        gaps.append(at - now)
        now = at
        attempts = attempts.rebuilding(now, POLICY)
    assert gaps == [0, 5, 10, 20, 40]
    assert rebuild_allowed_at(attempts, now, POLICY) == POLICY.rebuild_window_s


def test_only_what_changes_a_decision_is_worth_remembering():
    assert not Attempts().noticed(Phase.CONFIGURED, "w", 1.0).memorable(1.0, POLICY)
    assert Attempts().noticed(Phase.SILENT, "w", 1.0).memorable(1.0, POLICY)
    assert not Attempts(rebuilds=(1.0,)).memorable(1e6, POLICY)
