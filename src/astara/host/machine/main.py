"""The first process: it becomes somebody, keeps one agent running, and ends the machine when that does not help.

The agent is a fork: a restarted one has nothing to import, and one woken from a template has a generator of random
numbers of its own (OpenSSL and `random` begin anew in a child), not the one all clones share.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque

from astara.contract.codec import ContractError
from astara.host.machine import birth, kernel
from astara.host.main import run
from astara.host.options import NodeOptions

#: What the node waits for on the console before it takes a template's picture.
TEMPLATE_READY = "astara: template ready"
_MOST_STARTS = 5
_WITHIN_S = 60.0


def main() -> None:
    """Does not return: the machine ends."""
    try:
        _live()
    except (OSError, ContractError, ValueError) as error:
        _say(f"astara: this machine cannot live: {error}")
    finally:
        kernel.end_machine()


def _live() -> None:
    kernel.mount_all()
    if birth.is_template():
        _say(TEMPLATE_READY)
    options = birth.take_up(birth.wait_for_papers())
    starts: deque[float] = deque(maxlen=_MOST_STARTS)
    while len(starts) < _MOST_STARTS or starts[-1] - starts[0] > _WITHIN_S:
        starts.append(time.monotonic())
        status = _outlive(_start(options))
        _say(f"astara: the agent ended with {status}, starting another")
    _say("astara: the agent does not stay")


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


def _outlive(agent: int) -> int:
    """Bury whoever ends, daemons without parents too, until the agent has."""
    while True:
        pid, status = os.wait()
        if pid == agent:
            return os.waitstatus_to_exitcode(status)


def _say(words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
