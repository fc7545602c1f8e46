"""A thread that looks again and again, and says each time when to come next."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

_log = structlog.get_logger(__name__)
_AFTER_A_BUG_S = 30.0


class Turns:
    """`look` returns the seconds until the next look; `crashed` is told the name when it raises what nobody foresaw."""

    def __init__(self, name: str, look: Callable[[], float], crashed: Callable[[str], None]) -> None:
        self._name = name
        self._look = look
        self._crashed = crashed
        self._woken = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look now."""
        self._woken.set()

    def stop(self, wait_s: float = 5.0) -> None:
        """Look no more; nothing when it never began."""
        self._ended.set()
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join(wait_s)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._woken.clear()
            wait_s = _AFTER_A_BUG_S
            try:
                wait_s = self._look()
            except Exception:  # noqa: BLE001 - the thread outlives a bug; it is logged with its traceback
                _log.exception("turn-crashed", thread=self._name)
                self._crashed(self._name)
            self._woken.wait(wait_s)
