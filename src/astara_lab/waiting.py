"""Polling with a deadline, for a world that becomes ready in its own time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


#: By how much all deadlines are longer where instances are slow to make. In the environment of what runs inside a lab.
PATIENCE = "ASTARA_LAB_PATIENCE"


def patient(deadline_s: float) -> float:
    """Return the deadline as it is in this lab."""
    return deadline_s * float(os.environ.get(PATIENCE, "1"))


class NotInTime(AssertionError):
    """Something did not happen before its deadline; says what, and after how long."""


def until(what: str, look: Callable[[], T | None], deadline_s: float = 10.0, interval_s: float = 0.05) -> T:
    """Calls `look` until it answers something true and returns that. Raises NotInTime after `deadline_s`, patiently."""
    deadline_s = patient(deadline_s)
    pause = threading.Event()
    end = time.monotonic() + deadline_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= end:
            raise NotInTime(f"{what}: not after {deadline_s:g} s (last seen: {found!r})")
        pause.wait(interval_s)
