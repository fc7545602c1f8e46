"""Golden files: what a pure function rendered when somebody last looked at it.

To accept a change, run the tests with ASTARA_GOLDEN=accept and read the diff before committing it.
"""

from __future__ import annotations

import os
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def golden(room: str, name: str, rendered: str) -> str:
    """Return the accepted text for `name`, after accepting `rendered` if the environment says so."""
    path = GOLDEN / room / name
    if os.environ.get("ASTARA_GOLDEN") == "accept":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rendered)
    return path.read_text()


def every(room: str, pattern: str) -> list[Path]:
    """Return the golden files of a room."""
    return sorted((GOLDEN / room).glob(pattern))
