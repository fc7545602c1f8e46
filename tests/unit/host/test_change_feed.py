"""Whoever waits for changes hears each once, at once."""

from __future__ import annotations

import threading

from astara.contract.agent import Key
from astara.host.changes import Changes

ONE, OTHER = Key(driver="router", id="1"), Key(driver="router", id="2")


def test_a_change_is_heard_after_the_cursor_and_not_again() -> None:
    changes = Changes()
    changes.publish(ONE)
    first = changes.since(0, 0)
    changes.publish(OTHER)
    second = changes.since(first.cursor, 0)
    assert (first.keys, second.keys) == ((ONE,), (OTHER,))
    assert changes.since(second.cursor, 0).keys == ()


def test_many_changes_of_one_resource_are_one() -> None:
    changes = Changes()
    for _ in range(100):
        changes.publish(ONE)
    assert changes.since(0, 0).keys == (ONE,)


def test_who_waits_is_woken_by_a_change() -> None:
    changes = Changes()
    heard: list[tuple[Key, ...]] = []
    waiting = threading.Thread(target=lambda: heard.append(changes.since(0, 30).keys))
    waiting.start()
    changes.publish(ONE)
    waiting.join(10)
    assert heard == [(ONE,)]


def test_closing_lets_everybody_go() -> None:
    changes = Changes()
    waiting = threading.Thread(target=changes.since, args=(0, 300))
    waiting.start()
    changes.close()
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_cursor_of_an_earlier_agent_is_answered_at_once_under_another_boot_id() -> None:
    earlier, now = Changes(), Changes()
    for _ in range(3):
        earlier.publish(ONE)
    answer = now.since(earlier.cursor, 300)
    assert (answer.keys, answer.cursor) == ((), 0)
    assert answer.boot_id != earlier.boot_id


def test_a_deleted_resource_is_not_spoken_of_any_more() -> None:
    changes = Changes()
    changes.publish(ONE)
    changes.forget(ONE)
    assert changes.since(0, 0).keys == ()
