"""What the first process of a machine or a container does: keep one agent running, and bury whoever ends.

The agent is a fork: a restarted one has nothing to import, and one woken from a template has a generator of random
numbers of its own (OpenSSL and `random` begin anew in a child), not the one all clones share.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque

from astara.host.main import run
from astara.host.options import NodeOptions

_MOST_STARTS = 5
_WITHIN_S = 60.0


def outlive(options: NodeOptions) -> None:
    """Run agents, one after the other; return when they do not stay."""
    starts: deque[float] = deque(maxlen=_MOST_STARTS)
    while len(starts) < _MOST_STARTS or starts[-1] - starts[0] > _WITHIN_S:
        starts.append(time.monotonic())
        status = _bury_until(_start(options))
        say(f"astara: the agent ended with {status}, starting another")
    say("astara: the agent does not stay")


def say(words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()


def _start(options: NodeOptions) -> int:
    pid = os.fork()
    if pid != 0:
        return pid
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_DFL)
    status = 70  # EX_SOFTWARE
    try:
        status = run(options)
    finally:
        sys.stderr.flush()
        os._exit(status)


def _bury_until(agent: int) -> int:
    """Bury whoever ends, daemons without parents too, until the agent has."""
    while True:
        pid, status = os.wait()
        if pid == agent:
            return os.waitstatus_to_exitcode(status)
