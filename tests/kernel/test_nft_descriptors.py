"""A process with more than a thousand open files still compiles rulesets: libnftables must not abort it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.kernel

_MANY_FILES = """
import os, resource
from astara.appliance.subsystems.nftables.config import Ruleset
from astara.appliance.subsystems.nftables.reference import Reference
from astara.drivers.router.ruleset import structure
resource.setrlimit(resource.RLIMIT_NOFILE, (5000, 5000))
held = [os.open("/dev/null", os.O_RDONLY) for _ in range(2000)]
reference = Reference()
for port in range(1, 5):
    reference.judge(Ruleset(structure((("ftp", "tcp", port),))), {})
print("alive")
"""


def test_more_than_a_thousand_open_files_do_not_end_the_agent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _MANY_FILES], capture_output=True, text=True, check=False, env=os.environ.copy()
    )
    assert done.stdout == "alive\n", done.stderr
