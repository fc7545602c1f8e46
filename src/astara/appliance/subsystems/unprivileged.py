"""Daemons that talk to tenants run under accounts of their own and read their files under them."""

from __future__ import annotations

import pwd
import stat
from pathlib import Path

#: Others may pass through our directories and read the files that a daemon reads again while it runs.
DIRECTORY_MODE = 0o711
FILE_MODE = 0o644

ROOT = "root"


def account(preferred: str, directory: Path) -> str:
    """Return the account that a daemon should run as: `preferred` if it exists and can reach `directory`, else root.

    A state directory below one that only root may pass leaves no choice.
    """
    try:
        pwd.getpwnam(preferred)
    except KeyError:
        return ROOT
    return preferred if all(_passable(parent) for parent in directory.parents) else ROOT


def _passable(directory: Path) -> bool:
    try:
        return bool(directory.stat().st_mode & stat.S_IXOTH)
    except FileNotFoundError:
        return True
