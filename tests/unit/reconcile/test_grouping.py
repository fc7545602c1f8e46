from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from astara.model.errors import Retry
from astara.reconcile.clock import SystemClock
from astara.reconcile.grouping import GroupCommit


class Slow:
    """A remote call that answers when the test lets it."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, ...]] = []
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.error: Exception | None = None

    def __call__(self, asks: Sequence[str]) -> dict[str, str]:
        self.batches.append(tuple(asks))
        self.began.release()
        assert self.may_end.acquire(timeout=10)
        if self.error is not None:
            raise self.error
        return {ask: ask.upper() for ask in asks}


def group(call: Slow, limit: int = 100, deadline_s: float = 10.0) -> GroupCommit[str, str]:
    return GroupCommit("test", call, SystemClock(), batch_limit=limit, deadline_s=deadline_s)


def ask_in_threads(
    made: GroupCommit[str, str], asks: Sequence[str]
) -> tuple[list[threading.Thread], dict[str, object]]:
    answers: dict[str, object] = {}

    def ask(what: str) -> None:
        try:
            answers[what] = made.ask(what)
        except Retry as error:
            answers[what] = str(error)

    threads = [threading.Thread(target=ask, args=(what,)) for what in asks]
    for thread in threads:
        thread.start()
    return threads, answers


def until_waiting(made: GroupCommit[str, str], count: int) -> None:
    """Wait until so many asks are collected for the next call."""
    deadline = SystemClock().now() + 10
    while sum(len(batch.asks) for batch in made._open) < count:
        assert SystemClock().now() < deadline
        threading.Event().wait(0.001)


def joined(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_a_lone_request_leaves_at_once():
    call = Slow()
    call.may_end.release()
    assert group(call).ask("a") == "A"
    assert call.batches == [("a",)]


def test_requests_made_during_a_call_share_the_next_one_and_are_never_answered_by_the_running_one():
    call = Slow()
    made = group(call)
    first, answers = ask_in_threads(made, ["a"])
    assert call.began.acquire(timeout=10)
    rest, more = ask_in_threads(made, ["b", "c", "d"])
    again, fresh = ask_in_threads(made, ["a"])
    until_waiting(made, 4)
    call.may_end.release(2)
    joined([*first, *rest, *again])
    assert call.batches[0] == ("a",)
    assert sorted(call.batches[1]) == ["a", "b", "c", "d"]
    assert len(call.batches) == 2
    assert answers | more | fresh == {what: what.upper() for what in "abcd"}


def test_a_batch_is_limited():
    call = Slow()
    made = group(call, limit=2)
    first, _ = ask_in_threads(made, ["a"])
    assert call.began.acquire(timeout=10)
    rest, answers = ask_in_threads(made, list("bcdef"))
    until_waiting(made, 5)
    call.may_end.release(10)
    joined([*first, *rest])
    assert max(map(len, call.batches)) == 2
    assert len(answers) == 5


def test_everybody_in_a_batch_hears_its_error_and_the_next_call_is_made_all_the_same():
    call = Slow()
    call.error = Retry("away")
    made = group(call)
    call.may_end.release(5)
    with pytest.raises(Retry, match="away"):
        made.ask("a")
    call.error = None
    assert made.ask("a") == "A"


def test_who_waits_too_long_gives_up_and_holds_up_nobody():
    call = Slow()
    made = group(call, limit=1)
    first, _ = ask_in_threads(made, ["a"])
    assert call.began.acquire(timeout=10)
    made._deadline_s = 0.01
    with pytest.raises(Retry, match="no answer within"):
        made.ask("b")
    made._deadline_s = 10.0
    last, answers = ask_in_threads(made, ["c"])
    until_waiting(made, 2)
    call.may_end.release(3)
    joined([*first, *last])
    assert answers == {"c": "C"}
