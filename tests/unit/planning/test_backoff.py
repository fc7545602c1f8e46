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


def failing(times: int, *, phase: Phase = Phase.CONFIGURED, failure: Failure = AWAY) -> list[Attempts]:
    """What is remembered after each of so many tries in a row, each when its time has come."""
    known, now = Attempts(), 0.0
    found = []
    for _ in range(times):
        known = known.noticed(phase, "w", now, owing=True).failed(failure, now, POLICY.backoff, 0.0, ("bind",))
        found.append(known)
        now = known.not_before
    return found


def test_what_fails_while_all_is_settled_backs_off_like_anything_else():
    assert [known.not_before - known.tried_at for known in failing(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_and_is_forgotten_once_nothing_of_it_is_left_to_do():
    known = failing(3)[-1]
    assert known.may_owe(Phase.CONFIGURED, "w")
    done = known.noticed(Phase.CONFIGURED, "w", 8.0, owing=False)
    assert (done.tries, done.last, done.not_before, done.memorable(8.0, POLICY)) == (0, None, 0.0, False)


def test_tries_that_unsettled_it_or_were_made_for_another_wish_do_not_count_once_it_is_settled():
    known = failing(3, phase=Phase.OUTDATED)[-1]
    assert not known.may_owe(Phase.CONFIGURED, "w")
    assert not failing(3)[-1].may_owe(Phase.CONFIGURED, "another")
    assert not Attempts(wish="w", phase=Phase.CONFIGURED, tries=3).may_owe(Phase.CONFIGURED, "w"), "it did not fail"


def test_a_word_about_a_settled_resource_ends_the_wait__but_not_the_echo_of_the_try_itself():
    known = failing(7)[-1]
    assert known.nudged(known.tried_at + 11.9, POLICY.backoff) == known
    nudged = known.nudged(known.tried_at + 12.1, POLICY.backoff)
    assert (nudged.not_before, nudged.tries) == (known.tried_at + 12.1, 7)


def test_no_word_shortens_what_the_other_side_asked_for_or_the_wait_of_what_is_not_settled():
    busy = failing(1, failure=Failure(FailureKind.RETRY, "busy", after_s=300.0))[-1]
    assert busy.nudged(299.0, POLICY.backoff) == busy
    broken = failing(7, phase=Phase.OUTDATED)[-1]
    assert broken.nudged(broken.tried_at + 30.0, POLICY.backoff) == broken


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
