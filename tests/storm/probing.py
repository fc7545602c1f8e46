"""The probes in a process of their own, ahead of others: what is measured shall be routers, not a busy interpreter.

`python -m storm.probing`: an Order comes in as a line, "ready" goes out; any further line or the end of input stops it,
and the outcomes go out as a line.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from dataclasses import dataclass

import msgspec

from storm.probes import Echo, Outcome, Probe, Question

_AHEAD = -10
_END_S = 60.0
_FILES = 65536


class Order(msgspec.Struct, frozen=True):
    """`speakers`: namespaces in which somebody answers."""

    questions: tuple[Question, ...]
    speakers: tuple[str, ...]
    every_s: float
    stream_patience_s: float = 20.0


@dataclass
class Probing:
    """The other end of that process. `stop` may be called twice."""

    _process: subprocess.Popen[str]
    _outcomes: tuple[Outcome, ...] = ()

    @classmethod
    def start(cls, order: Order) -> Probing:
        """Raises RuntimeError when it does not begin."""
        process = subprocess.Popen(
            [sys.executable, "-m", "storm.probing"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        made = cls(process)
        if made._say(msgspec.json.encode(order).decode()) != "ready":
            raise RuntimeError("the probes did not begin")
        return made

    def stop(self) -> tuple[Outcome, ...]:
        """Ask no more, wait for the last answers; returns the outcomes in the order of the questions."""
        if self._process.poll() is None:
            self._outcomes = msgspec.json.decode(self._say("stop"), type=tuple[Outcome, ...])
            self._process.communicate(timeout=_END_S)
        return self._outcomes

    def _say(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


def main() -> None:
    order = msgspec.json.decode(sys.stdin.readline(), type=Order)
    with contextlib.suppress(PermissionError):
        os.nice(_AHEAD - os.nice(0))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, most), most))
    echo = Echo()
    for speaker in order.speakers:
        echo.speak(speaker)
    echo.start()
    probes = [Probe(question, order.every_s, order.stream_patience_s) for question in order.questions]
    for probe in probes:
        probe.start()
    print("ready", flush=True)
    sys.stdin.readline()
    for probe in probes:
        probe.stop()
    for probe in probes:
        probe.join()
    echo.close()
    print(msgspec.json.encode([probe.outcome for probe in probes]).decode(), flush=True)


if __name__ == "__main__":
    main()
