"""Wire types are usable by many threads from the moment they exist."""

from __future__ import annotations

import subprocess
import sys

import pytest

from astara.contract.codec import Wire

_RACE = """
import sys, threading
from astara.contract.codec import Wire, decode
import enum

class Colour(enum.StrEnum):
    RED = "red"

class Inner(Wire, frozen=True):
    colours: tuple[Colour, ...] = ()

class Outer(Wire, frozen=True):
    inner: tuple[Inner, ...]

sys.setswitchinterval(1e-6)
start = threading.Barrier(8)
def work():
    start.wait()
    decode(b'{"inner": [{"colours": ["red"]}]}', Outer)
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def test_a_type_is_studied_when_it_is_defined() -> None:
    with pytest.raises(NameError):

        class Unfinished(Wire, frozen=True):
            field: Nowhere  # type: ignore[name-defined]  # noqa: F821


def test_threads_that_use_a_type_first_do_not_crash_the_process() -> None:
    """msgspec studies a type at its first use; two threads at once ended in a segmentation fault."""
    for _ in range(5):
        assert subprocess.run([sys.executable, "-c", _RACE], check=False).returncode == 0
