"""Low descriptors kept in reserve for a library that cannot live with high ones."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PATIENCE_S = 5.0


class NoneFree(OSError):
    """All reserved descriptors are in use, or were lost to somebody faster."""


class LowDescriptors:
    """Holds `reserved` descriptors from the time of import on, when few files are open.

    The kernel always gives the lowest free one: whoever opens something right after we let go of one gets it.
    """

    def __init__(self, reserved: int, highest: int) -> None:
        self._highest = highest
        self._held = [_hold() for _ in range(reserved)]
        self._changed = threading.Condition()

    def borrow(self, make: Callable[[], T]) -> T:
        """Return what `make` opens, on a low descriptor. Raises NoneFree after some seconds without any."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._held, _PATIENCE_S):
                raise NoneFree(f"no descriptor below {self._highest} is free; close files or restart the agent")
            os.close(self._held.pop())
            return make()

    def give_back(self) -> None:
        """Say that what was borrowed has been closed."""
        with self._changed:
            handle = _hold()
            if handle > self._highest:
                os.close(handle)  # somebody was faster; one less in reserve
            else:
                self._held.append(handle)
            self._changed.notify()


def _hold() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
