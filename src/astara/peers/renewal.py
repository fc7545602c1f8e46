"""What is made of a few files, made anew when one of them has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import structlog

_log = structlog.get_logger(__name__)
T = TypeVar("T")
_Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]


class Renewed(Generic[T]):
    """Looks at the files whenever it is asked.

    A renewal that cannot be used, or is half written, is logged, and what was made before stays in use until the files
    change again.

    `make` raises `unusable` for files that cannot be used; at construction that is passed on.
    """

    def __init__(self, files: Sequence[Path], make: Callable[[], T], unusable: type[Exception]) -> None:
        self._files = tuple(files)
        self._make = make
        self._unusable = unusable
        # Without it, who read the files first could be the last to say what they hold.
        self._lock = threading.Lock()
        self._stamp = _stamp(self._files)
        self._made = make()

    def now(self) -> T:
        """Return what the files stand for now; three system calls when nothing has changed."""
        with self._lock:
            # Taken before the files are read: a change meanwhile is seen the next time.
            stamp = _stamp(self._files)
            if stamp != self._stamp:
                self._stamp = stamp
                self._renew()
            return self._made

    def _renew(self) -> None:
        files = [str(path) for path in self._files]
        try:
            self._made = self._make()
        except self._unusable as error:
            _log.warning("tls.not_renewed", files=files, reason=str(error), remedy=getattr(error, "remedy", ""))
        else:
            _log.info("tls.renewed", files=files)


def _stamp(files: Sequence[Path]) -> _Stamp:
    """Return what changes whenever a file is written or replaced."""
    return tuple(map(_stamp_of, files))


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
