"""A process that was asked to end ends, whatever moment the signal comes at."""

from __future__ import annotations

import subprocess
import sys

#: Asked many times, before, within or after the wait; says where it stands when it still waits after so many seconds.
_ASKED_OFTEN = """
import faulthandler, os, random, signal, threading
from astara.ending import Ending

faulthandler.dump_traceback_later(40, exit=True)
ending, turn = Ending(), threading.Semaphore(0)

def ask() -> None:
    while turn.acquire():
        for _ in range(random.randrange(200)):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=ask, daemon=True).start()
for _ in range(20000):
    turn.release()
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
