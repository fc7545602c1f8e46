"""The plug-ins installed beside us, by the groups of entry points they are listed in."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import EntryPoints, entry_points, version
from typing import Any


def plugins(group: str) -> EntryPoints:
    """Return those of one group; what is installed while we run is seen by the next start."""
    return _of(tuple(sys.path), group)


@lru_cache(maxsize=1)
def own_version() -> str:
    """Return the version of this program."""
    return version("astara")


@lru_cache
def _of(path: tuple[str, ...], group: str) -> EntryPoints:
    found: EntryPoints = _every(path).select(group=group)
    return found


@lru_cache(maxsize=1)
def _every(path: tuple[str, ...]) -> Any:
    """Reading goes through every installed package, 15 ms for the two hundred of a controller: once is enough.

    Python 3.11 returns another type than 3.12; both have `select`.
    """
    return entry_points()
