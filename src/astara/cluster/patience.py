"""Waiting for a call that may hang far longer than anybody can wait: it goes on by itself, and is asked again later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class StillWaiting(Exception):
    """The call has not come back yet."""


class Patience(Generic[T]):
    """One call at a time, in a daemon thread: it must not keep the process from ending. One thread asks."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._answers: list[T] = []
        self._errors: list[Exception] = []

    def ask(self, call: Callable[[], T], within_s: float) -> T:
        """Return what `call` returns, or what the call that is still under way does; raises what it raises.

        Raises StillWaiting after `within_s`.
        """
        if self._thread is None:
            self._answers, self._errors = [], []
            self._thread = threading.Thread(target=self._run, args=(call,), name=self._name, daemon=True)
            self._thread.start()
        self._thread.join(within_s)
        if self._thread.is_alive():
            raise StillWaiting
        self._thread = None
        if self._errors:
            raise self._errors[0]
        return self._answers[0]

    def _run(self, call: Callable[[], T]) -> None:
        try:
            self._answers.append(call())
        except Exception as error:  # noqa: BLE001 - raised where it was asked for
            self._errors.append(error)
