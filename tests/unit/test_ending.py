"""A process that was asked to end ends, whatever moment the signal comes at."""

from __future__ import annotations

import subprocess
import sys

#: Asked again and again, at a moment just before, within or after the wait; says where it stands when it still waits after seconds.
_ASKED_OFTEN = """
import faulthandler, random, signal, time
from astara.ending import Ending

faulthandler.dump_traceback_later(10, exit=True)
ending, until = Ending(), time.monotonic() + 1.5
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(random.choice((signal.SIGTERM, signal.SIGINT))))
while time.monotonic() < until:
    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00002, 0.0005))
    ending.wait()
"""

_ASKED_BEFORE = """
import signal
from astara.ending import Ending

ending = Ending()
signal.raise_signal(signal.SIGTERM)
ending.wait()
"""


def _runs(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_no_moment_loses_the_signal() -> None:
    ended = _runs(_ASKED_OFTEN)
    assert ended.returncode == 0, ended.stderr


def test_asked_before_it_waits_it_ends_at_once() -> None:
    ended = _runs(_ASKED_BEFORE)
    assert ended.returncode == 0, ended.stderr
