"""`python -m astara_lab.clocked FILE PROGRAM …`: a Python program whose wall clock can be set while it runs.

FILE holds by how many seconds its clock is ahead, "-3600" or "0". Only the wall clock of Python's `time` is another;
the monotonic one goes on, as when somebody sets a machine's clock. What reads the time otherwise (`datetime`, OpenSSL)
sees the real one. Linux has no other way for one process: time namespaces (time_namespaces(7)) leave CLOCK_REALTIME
alone, and libfaketime 0.9.10 lets Python's `time.sleep` fail (EINVAL of clock_nanosleep(2) with TIMER_ABSTIME).
"""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path

_FRESH_S = 0.2
_NANOSECONDS = 1_000_000_000


class Clock:
    """Reads its file now and then; a file that cannot be read changes nothing."""

    def __init__(self, file: Path, real_ns: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._file, self._real_ns, self._monotonic = file, real_ns, monotonic
        self._ahead_ns, self._read_at = 0, float("-inf")

    def time_ns(self) -> int:
        now = self._monotonic()
        if now - self._read_at >= _FRESH_S:
            self._read_at = now
            try:
                self._ahead_ns = int(float(self._file.read_text()) * _NANOSECONDS)
            except (OSError, ValueError):
                return self._real_ns() + self._ahead_ns
        return self._real_ns() + self._ahead_ns

    def time(self) -> float:
        return self.time_ns() / _NANOSECONDS


def main() -> None:
    file, program, *rest = sys.argv[1:]
    clock = Clock(Path(file), time.time_ns, time.monotonic)
    time.time, time.time_ns = clock.time, clock.time_ns
    sys.argv = [program, *rest]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
