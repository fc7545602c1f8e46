from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from astara.model.resource import ResourceKey
from astara.reconcile.clock import SystemClock
from astara.reconcile.inbox import REASONS_KEPT, Inbox, Lane
from support.clock import VirtualClock

A, B, C = (ResourceKey("router", name) for name in "abc")


def drain(inbox: Inbox) -> list[str]:
    found = []
    while (work := inbox.take(0.0)) is not None:
        found.append(work.key.id)
        inbox.done(work.key, None)
    return found


def test_however_many_events_come_there_is_one_turn_with_all_reasons_once():
    inbox = Inbox(VirtualClock())
    for number in range(100):
        inbox.add(A, f"event-{number % 20}")
    work = inbox.take(0.0)
    assert work is not None
    assert len(work.reasons) == REASONS_KEPT
    assert inbox.take(0.0) is None


def test_an_event_during_work_makes_exactly_one_more_run():
    inbox = Inbox(VirtualClock())
    inbox.add(A, "first")
    inbox.take(0.0)
    for _ in range(5):
        inbox.add(A, "again")
    assert inbox.take(0.0) is None, "one resource is strictly serial"
    inbox.done(A, 300.0)
    assert drain(inbox) == ["a"]
    assert inbox.next_due() is None, "the event came after the wish to come again: it is void"


def test_others_are_served_while_one_is_worked_on():
    inbox = Inbox(VirtualClock())
    inbox.add(A, "x")
    inbox.take(0.0)
    inbox.add(B, "x")
    work = inbox.take(0.0)
    assert work is not None
    assert work.key == B


def test_a_delayed_turn_comes_when_due_and_an_event_overtakes_it():
    clock = VirtualClock()
    inbox = Inbox(clock)
    inbox.add(A, "x")
    inbox.take(0.0)
    inbox.done(A, 10.0)
    assert inbox.take(0.0) is None
    assert inbox.next_look_at(A) == clock.now() + 10
    clock.advance(10)
    assert drain(inbox) == ["a"]
    inbox.add(A, "x")
    inbox.take(0.0)
    inbox.done(A, 10.0)
    inbox.add(A, "event")
    assert drain(inbox) == ["a"]
    clock.advance(20)
    assert drain(inbox) == []


def test_a_fresh_event_does_not_wait_behind_a_full_look_and_cannot_starve_it():
    inbox = Inbox(VirtualClock())
    background = [ResourceKey("router", f"bg{n}") for n in range(10)]
    for key in background:
        inbox.add(key, "resync", Lane.BACKGROUND)
    for number in range(10):
        inbox.add(ResourceKey("router", f"ev{number}"), "event")
    inbox.add(background[9], "event")
    order = drain(inbox)
    assert order[0] == "ev0"
    assert order.index("bg0") == 4
    assert order.index("bg9") < order.index("bg5"), "an event brings its resource forward"
    assert sorted(order) == sorted(set(order))
    assert len(order) == 20


def test_what_is_in_the_making_keeps_its_place_before_a_full_look_and_what_fails_does_not():
    inbox = Inbox(clock := VirtualClock())
    making, failing = ResourceKey("router", "making"), ResourceKey("router", "failing")
    for key in (making, failing):
        inbox.add(key, "event")
        assert inbox.take(0).key == key
    inbox.done(making, 1.0)
    inbox.done(failing, 60.0)
    for number in range(10):
        inbox.add(ResourceKey("router", f"bg{number}"), "resync", Lane.BACKGROUND)
    clock.advance(1.0)
    assert inbox.take(0).key == making
    inbox.done(making, 1.0)
    inbox.add(making, "resync", Lane.BACKGROUND)  # it is looked at with all the others, but not after them
    clock.advance(60.0)
    assert drain(inbox) == ["making", *(f"bg{number}" for number in range(10)), "failing"]


def test_scheduling_again_and_again_keeps_memory_bounded():
    inbox = Inbox(VirtualClock())
    for _ in range(5000):
        inbox.add(A, "x")
        inbox.take(0.0)
        inbox.done(A, 600.0)
    assert len(inbox._later) < 200


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["add", "bg", "work", "finish", "later", "tick"]))))
def test_nothing_is_ever_lost_or_in_two_hands(deeds):
    clock = VirtualClock()
    inbox = Inbox(clock)
    owed, working = set(), set()
    for name, deed in deeds:
        key = ResourceKey("router", name)
        if deed in ("add", "bg"):
            inbox.add(key, "x", Lane.FRESH if deed == "add" else Lane.BACKGROUND)
            owed.add(key)
        elif deed == "work" and (work := inbox.take(0.0)) is not None:
            assert work.key not in working
            working.add(work.key)
            owed.discard(work.key)
        elif deed in ("finish", "later") and key in working:
            working.remove(key)
            inbox.done(key, 5.0 if deed == "later" else None)
            if deed == "later":
                owed.add(key)
        elif deed == "tick":
            clock.advance(3)
    for key in working:
        inbox.done(key, None)
    clock.advance(10)
    assert {ResourceKey("router", name) for name in drain(inbox)} == owed
    assert inbox.depth == inbox.working == 0


def test_a_waiting_worker_is_woken_by_work_and_by_closing():
    inbox = Inbox(SystemClock())
    taken = []
    thread = threading.Thread(target=lambda: taken.extend([inbox.take(30.0), inbox.take(30.0)]))
    thread.start()
    inbox.add(A, "x")
    inbox.close()
    thread.join(10)
    assert not thread.is_alive()
    assert taken[-1] is None


def test_who_waits_for_something_later_is_woken_for_what_is_due_sooner():
    inbox = Inbox(SystemClock())
    for key in (A, B):
        inbox.add(key, "x")
        inbox.take(0.0)
    inbox.done(B, 60.0)
    taken = []
    thread = threading.Thread(target=lambda: taken.append(inbox.take(30.0)))
    thread.start()
    inbox.done(A, 0.05)
    thread.join(10)
    assert [work.key for work in taken] == [A]


def test_what_came_during_the_work_wakes_somebody():
    inbox = Inbox(SystemClock())
    inbox.add(A, "x")
    inbox.take(0.0)
    inbox.add(A, "y")
    taken = []
    thread = threading.Thread(target=lambda: taken.append(inbox.take(30.0)))
    thread.start()
    inbox.done(A, None)
    thread.join(10)
    assert [work.reasons for work in taken] == [("y",)]


def test_who_waits_for_the_end_of_all_work_hears_of_the_last():
    inbox = Inbox(SystemClock())
    inbox.add(A, "x")
    inbox.take(0.0)
    inbox.close()
    ended = []
    thread = threading.Thread(target=lambda: ended.append(inbox.drained(30.0)))
    thread.start()
    inbox.done(A, None)
    thread.join(10)
    assert ended == [True]


def test_a_tenant_with_much_to_do_does_not_keep_another_waiting():
    inbox = Inbox(VirtualClock(), tenant_of=lambda key: key.id[0])
    for number in range(1000):
        inbox.add(ResourceKey("router", f"noisy-{number}"), "event")
    inbox.add(ResourceKey("router", "quiet-1"), "event")
    inbox.add(ResourceKey("router", "quiet-2"), "event")
    order = [inbox.take(0.0).key.id for _ in range(4)]
    assert order == ["noisy-0", "quiet-1", "noisy-1", "quiet-2"]


def test_what_is_forgotten_is_not_handed_out_and_what_is_worked_on_ends_by_itself():
    inbox = Inbox(VirtualClock())
    queued, later, worked = (ResourceKey("router", name) for name in ("queued", "later", "worked"))
    inbox.add(later, "event")
    inbox.done(inbox.take(0.0).key, 5.0)
    inbox.add(worked, "event")
    assert inbox.take(0.0).key == worked
    inbox.add(queued, "event")
    inbox.add(worked, "event")
    for key in (queued, later, worked):
        inbox.forget(key)
    assert inbox.take(0.0) is None
    inbox.done(worked, None)
    assert inbox.keys() == ()
    assert inbox.depth == inbox.working == 0
