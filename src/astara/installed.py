"""The plug-ins installed beside us, by the groups of entry points they are listed in.

An appliance image cannot change, so who builds it writes them down once (`written`, `KEPT`): reading them from the
packages takes importlib.metadata, and with it email and zipfile, longer to import than any room of the agent inside.
"""

from __future__ import annotations

import json
import pkgutil
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

#: Of an image alone; nodes and controllers, where packages come and go, have none.
KEPT = Path("/usr/lib/astara/installed.json")
_OURS = "astara."


class Plugin(NamedTuple):
    """`value` is the object it stands for: "module:attribute"."""

    name: str
    value: str

    def load(self) -> Any:
        """Return the object; raises whatever its import does."""
        return pkgutil.resolve_name(self.value)


def plugins(group: str) -> tuple[Plugin, ...]:
    """Return those of one group; what is installed while we run is seen by the next start."""
    return tuple(Plugin(*one) for one in _known(tuple(sys.path), KEPT)["plugins"].get(group, ()))


@lru_cache(maxsize=1)
def own_version() -> str:
    """Return the version of this program."""
    return str(_known(tuple(sys.path), KEPT)["version"])


def written() -> str:
    """Return what a file at KEPT says: the plug-ins of every group of ours, and our version."""
    return json.dumps(_read_from_packages(), sort_keys=True)


@lru_cache
def _known(path: tuple[str, ...], kept: Path) -> dict[str, Any]:
    """Reading goes through every installed package, 15 ms for the two hundred of a controller: once is enough."""
    try:
        return dict(json.loads(kept.read_text()))
    except FileNotFoundError:
        return _read_from_packages()


def _read_from_packages() -> dict[str, Any]:
    from importlib.metadata import entry_points, version

    found: dict[str, list[tuple[str, str]]] = {}
    every: Any = entry_points()  # Python 3.11 returns another type than 3.12; both have `select` and `groups`
    for group in sorted(every.groups):
        if group.startswith(_OURS):
            points = every.select(group=group)
            found[group] = [(point.name, f"{point.module}:{point.attr}") for point in points]
    return {"version": version("astara"), "plugins": found}
