"""What the RabbitMQ feed's thread survives; against a real broker it is in tests/contract/test_event_feed_rabbit.py."""

from __future__ import annotations

import queue
from types import SimpleNamespace
from typing import Any

import pytest

from astara.intake import rabbit_feed
from astara.intake.rabbit_feed import RabbitFeed, RabbitFeedOptions
from astara.reconcile.boundaries import NoMetrics
from astara.reconcile.clock import SystemClock


class Listener:
    """As much of oslo.messaging's as the feed looks at; its connection is up."""

    def __init__(self, ended: list[str]) -> None:
        self._ended = ended
        line = SimpleNamespace(channel=object(), connection=SimpleNamespace(connected=True))
        self.listener = SimpleNamespace(_poll_style_listener=SimpleNamespace(conn=SimpleNamespace(connection=line)))

    def start(self) -> None:
        """Connected at once."""

    def stop(self) -> None:
        self._ended.append("stopped")

    def wait(self) -> None:
        """Nothing runs."""


class Sink:
    def __init__(self) -> None:
        self.reasons: queue.Queue[str] = queue.Queue()
        self.broken = True

    def notify(self, event: Any) -> None:
        """Not called here."""

    def resync(self, reason: str) -> None:
        self.reasons.put(reason)
        if self.broken:
            self.broken = False
            raise ZeroDivisionError


class Counting(NoMetrics):
    def __init__(self) -> None:
        self.threads: queue.Queue[str] = queue.Queue()

    def heard(self, feed: str, kind: str) -> None:
        """Ignore."""

    def crashed(self, thread: str) -> None:
        self.threads.put(thread)


def test_an_exception_nobody_foresaw_is_counted_and_another_listener_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    failures = [RuntimeError("oslo.messaging has a bug")]

    def listener(*_: Any) -> Listener:
        if failures:
            raise failures.pop()
        return Listener(ended)

    monkeypatch.setattr(rabbit_feed, "_transport", lambda _: SimpleNamespace(cleanup=lambda: None))
    monkeypatch.setattr(rabbit_feed, "_listener", listener)
    options = RabbitFeedOptions("rabbit://u:p@127.0.0.1:1/", "astara-test", watch_s=0.01, restart_s=0.0)
    metrics, sink = Counting(), Sink()
    feed = RabbitFeed(options, SystemClock(), metrics)
    feed.start(sink)
    assert [sink.reasons.get(timeout=20) for _ in range(2)] == ["rabbit feed connected"] * 2
    assert [metrics.threads.get(timeout=1) for _ in range(2)] == ["intake-rabbit"] * 2
    assert ended == ["stopped"], "the first listener would go on hearing for nobody"
    assert feed.connected()
    feed.stop()
