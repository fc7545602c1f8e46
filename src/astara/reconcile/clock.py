"""The real clock; tests bring their own."""

from __future__ import annotations

import time


class SystemClock:
    """`now` is monotonic seconds; `wall` is seconds since the epoch."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()
