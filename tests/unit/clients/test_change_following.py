"""Following the nodes' change feeds: every change is told, and whatever might have been missed."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

from astara.clients.node_feed import Feed
from astara.clients.nodes import instance_id
from astara.contract.agent import ChangeFeed, Key
from astara.model.errors import Retry
from astara.model.resource import ResourceKey

ONE = Key(driver="router", id="1")


class Agent:
    """Answers what the test lines up, then waits for more; remembers what it was asked."""

    name = "node-a"

    def __init__(self) -> None:
        self.answers: queue.Queue[ChangeFeed | Exception] = queue.Queue()
        self.asked: list[int] = []
        self.silent: Callable[[], None] = lambda: None
        self.sights: list[Exception | None] = []

    def on_silence(self, told: Callable[[], None]) -> None:
        self.silent = told

    def sight(self) -> None:
        found = self.sights.pop(0) if self.sights else None
        if found is not None:
            raise found

    def changes(self, since: int, wait_s: float) -> ChangeFeed:
        self.asked.append(since)
        answer = self.answers.get(timeout=10)
        if isinstance(answer, Exception):
            raise answer
        return answer


def followed(*answers: ChangeFeed | Exception, told: int) -> tuple[list[Any], list[int]]:
    """Return what was told after `told` calls, and the cursors that were asked for."""
    agent, heard = Agent(), queue.Queue[Any]()
    for answer in answers:
        agent.answers.put(answer)
    feed = Feed([agent], lambda host, keys: heard.put((host, keys)))  # type: ignore[list-item]
    calls = [heard.get(timeout=10) for _ in range(told)]
    feed.stop()
    agent.answers.put(ChangeFeed(cursor=0))
    return calls, agent.asked


def test_the_first_answer_means_look_at_everything() -> None:
    told, asked = followed(ChangeFeed(cursor=7, boot_id="a"), told=1)
    assert told == [("node-a", None)]
    assert asked[0] == 0


def test_changes_are_told_by_key_and_asked_from_where_the_last_answer_ended() -> None:
    told, asked = followed(ChangeFeed(cursor=7, boot_id="a"), ChangeFeed(cursor=8, keys=(ONE,), boot_id="a"), told=2)
    assert told == [("node-a", None), ("node-a", (ResourceKey("router", "1"),))]
    assert asked[:2] == [0, 7]


def test_a_restarted_agent_means_look_at_everything_again() -> None:
    told, _ = followed(ChangeFeed(cursor=7, boot_id="a"), ChangeFeed(cursor=1, keys=(ONE,), boot_id="b"), told=2)
    assert told == [("node-a", None), ("node-a", None)]


def test_after_a_loss_everything_is_looked_at_again(monkeypatch: Any) -> None:
    monkeypatch.setattr("astara.clients.node_feed._PAUSE_S", 0.0)
    told, asked = followed(
        ChangeFeed(cursor=7, boot_id="a"),
        Retry("away"),
        ChangeFeed(cursor=7, keys=(ONE,), boot_id="a"),
        told=2,
    )
    assert told == [("node-a", None), ("node-a", None)]
    assert asked[:3] == [0, 7, 0]


def test_a_break_that_the_long_poll_outlives_means_look_at_everything_too(monkeypatch: Any) -> None:
    """Others met the break and wait to look again; the poll's answer only comes later, and then says nothing of it."""
    monkeypatch.setattr("astara.clients.node_feed._ASK_S", 0.0)
    agent, heard = Agent(), queue.Queue[Any]()
    agent.answers.put(ChangeFeed(cursor=7, boot_id="a"))
    feed = Feed([agent], lambda host, keys: heard.put((host, keys)))  # type: ignore[list-item]
    assert heard.get(timeout=10) == ("node-a", None)

    agent.sights = [Retry("away"), Retry("away"), None]
    agent.silent()
    agent.silent()  # two callers may meet it at once

    assert heard.get(timeout=10) == ("node-a", None)
    assert agent.sights == []
    feed.stop()
    agent.answers.put(ChangeFeed(cursor=0))


def test_a_silence_that_begins_while_the_one_before_ends_is_another_one(monkeypatch: Any) -> None:
    monkeypatch.setattr("astara.clients.node_feed._ASK_S", 0.0)
    agent, heard = Agent(), queue.Queue[Any]()
    feed = Feed([agent], lambda host, keys: heard.put((host, keys)))  # type: ignore[list-item]
    answers = iter([agent.silent])  # it falls silent once more, to somebody else, just when it has answered
    monkeypatch.setattr(agent, "sight", lambda: next(answers, lambda: None)())

    agent.silent()

    assert [heard.get(timeout=10) for _ in range(2)] == [("node-a", None)] * 2
    feed.stop()
    agent.answers.put(ChangeFeed(cursor=0))


def test_an_exception_nobody_foresaw_from_a_node_that_is_back_is_counted_and_looked_after(monkeypatch: Any) -> None:
    monkeypatch.setattr("astara.clients.node_feed._ASK_S", 0.0)
    agent, heard, crashed = Agent(), queue.Queue[Any](), queue.Queue[str]()
    feed = Feed([agent], lambda host, keys: heard.put((host, keys)), crashed.put)  # type: ignore[list-item]
    agent.sights = [RuntimeError("a bug")]

    agent.silent()

    assert heard.get(timeout=10) == ("node-a", None)
    assert crashed.get(timeout=10) == "node-feed"
    feed.stop()
    agent.answers.put(ChangeFeed(cursor=0))


def test_an_exception_nobody_foresaw_is_counted_and_does_not_end_the_following(monkeypatch: Any) -> None:
    monkeypatch.setattr("astara.clients.node_feed._PAUSE_S", 0.0)
    agent, heard, crashed = Agent(), queue.Queue[Any](), queue.Queue[str]()
    for answer in (RuntimeError("a bug"), ChangeFeed(cursor=7, boot_id="a")):
        agent.answers.put(answer)

    def on_change(host: str, keys: tuple[ResourceKey, ...] | None) -> None:
        if crashed.qsize() == 1:
            raise ZeroDivisionError  # a bug on our side of it
        heard.put((host, keys))

    feed = Feed([agent], on_change, crashed.put)  # type: ignore[list-item]
    agent.answers.put(ChangeFeed(cursor=7, boot_id="a"))
    assert heard.get(timeout=10) == ("node-a", None)
    assert [crashed.get(timeout=1) for _ in range(2)] == ["node-feed", "node-feed"]
    feed.stop()
    agent.answers.put(ChangeFeed(cursor=0))


def test_an_instance_has_one_id_however_often_it_is_made() -> None:
    key = ResourceKey("router", "1")
    assert instance_id(key, "a") == instance_id(key, "a")
    others = {instance_id(key, "b"), instance_id(ResourceKey("network", "1"), "a"), instance_id(key, "a")}
    assert len(others) == 3
