"""What a feed heard, counted; and the one way from a message to the sink."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from astara.intake.events import Heard, Ignored, Overrun, Unrecognised, parse
from astara.model.boundaries import Clock, EventSink


class IntakeMetrics(Protocol):
    """Numbers about intake; `kind` is an event type we know, or "unknown"."""

    def heard(self, feed: str, kind: str) -> None: ...

    def crashed(self, thread: str) -> None:
        """Count an exception that nobody foresaw, in a feed's thread."""
        ...


class NoIntakeMetrics:
    """Counts nothing."""

    def heard(self, feed: str, kind: str) -> None:
        """Ignore."""

    def crashed(self, thread: str) -> None:
        """Ignore."""


@dataclass(frozen=True, slots=True)
class Counts:
    """`last_event_at` is in seconds since the epoch; None: nothing yet."""

    events: int = 0
    unknown: int = 0
    last_event_at: float | None = None


class Tally:
    """Hands messages to a sink and keeps count; safe to call from several threads."""

    def __init__(self, feed: str, clock: Clock, metrics: IntakeMetrics) -> None:
        self._feed = feed
        self._clock = clock
        self._metrics = metrics
        self._lock = threading.Lock()
        self._counts = Counts()

    def counts(self) -> Counts:
        """Return what was heard so far."""
        return self._counts

    def deliver(self, message: Any, sink: EventSink) -> None:
        """Parse, count, and mark what the message concerns; raises NotANotification."""
        notification = parse(message)
        match notification:
            case Heard(event):
                self._count(event.type, known=True)
                sink.notify(event)
            case Overrun(reason):
                self._count("astara.resync", known=True)
                sink.resync(reason)
            case Ignored(kind):
                self._count(kind, known=True)
            case Unrecognised():
                self._count("unknown", known=False)
            case _:
                assert_never(notification)

    def _count(self, kind: str, *, known: bool) -> None:
        with self._lock:
            before = self._counts
            self._counts = Counts(before.events + 1, before.unknown + (not known), self._clock.wall())
        self._metrics.heard(self._feed, kind)
