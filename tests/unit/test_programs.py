"""What the long-running programs load, and what they leave to those that speak to people."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("program", ["astara.runtime.main", "astara.host.main"])
def test_a_service_loads_nothing_made_for_terminals(program: str) -> None:
    code = f"""
import sys
from astara.spared import without_terminal
with without_terminal():
    import {program}
found = {{"rich", "click", "pygments"}} & sys.modules.keys()
assert not found, found
import rich, click  # the plug-ins of others may still want them
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_is_loaded_already_stays() -> None:
    code = """
import click, sys
from astara.spared import without_terminal
with without_terminal():
    import click as again
assert again is click and sys.modules["click"] is click
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
