"""One vocabulary for what can go wrong between us and the world."""

from __future__ import annotations


class AstaraError(Exception):
    """Base of everything we raise on purpose. `remedy` tells the operator what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        self.remedy = remedy
        super().__init__(message)


class Retry(AstaraError):
    """The other side is away or busy; the same call may succeed later. `after_s` is its own wish, if it said so."""

    def __init__(self, message: str, remedy: str = "", after_s: float | None = None) -> None:
        self.after_s = after_s
        super().__init__(message, remedy)


class Stale(AstaraError):
    """Somebody with a newer generation was here: look again before acting."""


class Terminal(AstaraError):
    """The same call can never succeed: the wish or the installation must change."""


class Unoffered(Terminal):
    """The other side is of another version and does not know the call at all."""


class Gone(AstaraError):
    """The thing to act on does not exist any more."""


class BadConfiguration(AstaraError):
    """The operator's configuration is wrong; names the option and the remedy. Raised at start only."""
