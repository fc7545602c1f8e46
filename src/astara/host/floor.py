"""The greatest term this node has heard of: whoever acts under an older one has lost what it acts on to another.

Every request of an orchestrator says its term, questions too. So what an owner has seen here stays true for it: after
it has looked, nobody's older act takes effect (docs/design/ownership.md).
"""

from __future__ import annotations

import threading
from pathlib import Path

import structlog

from astara.appliance.api import refusals
from astara.appliance.system import files
from astara.contract.generation import Generation

_log = structlog.get_logger(__name__)


class Floor:
    """Kept in a file, so that a restart forgets nothing; without `path` in memory alone."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._term = 0 if path is None else _read(path)

    @property
    def term(self) -> int:
        return self._term

    def hear(self, term: int) -> None:
        """Take note; on a full disk it holds until a restart."""
        if term <= self._term:
            return
        with self._lock:
            if term <= self._term:
                return
            self._term = term
            if self._path is not None:
                try:
                    files.replace(self._path, str(term))
                except OSError as error:
                    _log.warning("term.not-kept", term=term, reason=str(error))

    def refuse_older(self, generation: Generation) -> None:
        """Raises Refusal (409)."""
        if generation.term < self._term:
            raise refusals.stale(generation, f"term {self._term}")


def _read(path: Path) -> int:
    content = files.read(path)
    text = (content or b"0").strip()
    return int(text) if text.isdigit() else 0
